"""Who may change a job: its submitter, and an admin."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import ForbiddenError
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.errors import unknown_job
from stablequeue_hub.store.tables import jobs


def check_may_change(connection: Connection, job_id: str, principal: Principal) -> None:
    """Raises ForbiddenError for somebody else's job, NotFoundError."""
    submitted_by = connection.scalar(sa.select(jobs.c.submitted_by).where(jobs.c.job_id == job_id))
    if submitted_by is None:
        raise unknown_job()
    if principal.scope != "admin" and submitted_by != principal.actor:
        raise ForbiddenError("This job was submitted by somebody else.", remedy="Use an admin key.")
