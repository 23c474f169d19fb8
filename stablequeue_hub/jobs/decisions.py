"""What people decide about jobs that wait: about a model, or that a server shall get the job once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_client.shared.wire.jobs import REQUIREMENTS_MAX
from stablequeue_client.shared.wire.queue import Decision
from stablequeue_hub.errors import JobStateError
from stablequeue_hub.events import events
from stablequeue_hub.jobs.rows import change_pending, change_state, state_of
from stablequeue_hub.matching.check import resolve_server
from stablequeue_hub.models.unloadable import forget_unloadable
from stablequeue_hub.servers.known_servers import known_servers
from stablequeue_hub.store.tables import job_exclusions, job_requirements, jobs

if TYPE_CHECKING:
    from stablequeue_hub.servers.presence import Live


def decide(
    connection: Connection, job_id: str, wanted: Decision, live: Live, *, actor: str, now_ms: int
) -> list[str]:
    """Record it for the payload, with an event for each job that waits; the ids of these jobs.

    Raises NotFoundError (job, requirement or server), InvalidValueError, and JobStateError for a job that
    does not wait any more.
    """
    if state_of(connection, job_id) != "pending":
        raise JobStateError("The job is no longer waiting, so there is nothing to decide.")
    payload_id = connection.scalar(sa.select(jobs.c.payload_id).where(jobs.c.job_id == job_id))
    place = wanted.requirement if 0 <= wanted.requirement < REQUIREMENTS_MAX else -1
    its = (job_requirements.c.payload_id == payload_id, job_requirements.c.place == place)
    if connection.execute(sa.select(job_requirements.c.place).where(*its)).first() is None:
        raise NotFoundError(
            "The job has no requirement with that number.", remedy="Count the job's `requirements` from 0."
        )
    server_id = _server(connection, wanted, live)
    waiting = sa.select(jobs.c.job_id).where(jobs.c.payload_id == payload_id, jobs.c.state == "pending")
    ids = list(connection.scalars(waiting.order_by(jobs.c.seq)))
    details: dict[str, Any] = {"requirement": wanted.requirement, "decision": wanted.decision}
    if wanted.decision == "give_up":
        for waiting_id in ids:
            change_state(
                connection,
                waiting_id,
                "cancelled",
                action="job_given_up",
                actor=actor,
                now_ms=now_ms,
                details=details,
            )
        return ids
    connection.execute(
        job_requirements.update().where(*its).values(decision=wanted.decision, decision_server_id=server_id)
    )
    for waiting_id in ids:
        events.append(
            connection,
            "job_decided",
            actor,
            now_ms=now_ms,
            job_id=waiting_id,
            server_id=server_id,
            details=details,
        )
    return ids


def _server(connection: Connection, wanted: Decision, live: Live) -> str | None:
    if wanted.server is None:
        return None
    if wanted.decision != "run_anyway":
        raise InvalidValueError(
            "Only `run_anyway` can be limited to one server.", remedy="Leave `server` out."
        )
    return resolve_server(known_servers(connection, live), wanted.server)


def retry_job(connection: Connection, job_id: str, *, actor: str, now_ms: int) -> None:
    """Let every server get a waiting job again, also those that sent it back or failed with it.

    Raises NotFoundError, and JobStateError when it does not wait any more.
    """
    change_pending(connection, job_id, {"refusals": 0}, actor=actor, now_ms=now_ms, action="job_retried")
    connection.execute(job_exclusions.delete().where(job_exclusions.c.job_id == job_id))
    contents = connection.scalars(
        sa.select(job_requirements.c.sha256)
        .join(jobs, jobs.c.payload_id == job_requirements.c.payload_id)
        .where(jobs.c.job_id == job_id, job_requirements.c.sha256.is_not(None))
    )
    forget_unloadable(connection, None, set(contents))
