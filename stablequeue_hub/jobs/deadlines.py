"""Jobs do not wait for ever: at its deadline one fails, and says what it waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.history.daily_sums import add_unserved
from stablequeue_hub.jobs.rows import change_state
from stablequeue_hub.matching.why import PendingJobRow, load_context
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import jobs

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live

AT_ONCE = 500
"""Jobs that fail in one transaction, so that nobody waits long for it."""
_OVERDUE = Prepared(
    sa.select(*[jobs.c[name] for name in PendingJobRow._fields])
    .where(jobs.c.state == "pending", jobs.c.deadline_ms <= sa.bindparam("now_ms"))
    .order_by(jobs.c.seq)
    .limit(AT_ONCE)
)


def fail_overdue(connection: Connection, live: Live, *, now_ms: int) -> list[str]:
    """End up to 500 waiting jobs whose deadline is over; their ids. Ask again while that many come."""
    overdue = [PendingJobRow(*row) for row in _OVERDUE.all(connection, {"now_ms": now_ms})]
    if not overdue:
        return []
    context = load_context(connection, overdue, live)
    for job in overdue:
        waited_for = context.waiting(job).text
        add_unserved(connection, job.job_id, now_ms=now_ms)
        change_state(
            connection,
            job.job_id,
            "failed",
            action="job_failed",
            actor="hub",
            now_ms=now_ms,
            details={"failure": "deadline"},
            values={"failure": "deadline", "failure_text": f"Its deadline passed. {waited_for}."},
        )
    return [job.job_id for job in overdue]
