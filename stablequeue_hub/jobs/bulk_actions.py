"""The same for many jobs: each is done or says why not, and none keeps the others from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, StableQueueError, TooLargeError
from stablequeue_client.shared.wire.queue import ActionProblem, ActionResult, ActionResults, JobActions
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.jobs.decisions import retry_job
from stablequeue_hub.jobs.permissions import check_may_change
from stablequeue_hub.jobs.rows import change_pending, change_state, delete_job, star_job
from stablequeue_hub.jobs.states import PRIORITY_MAX, PRIORITY_MIN
from stablequeue_hub.jobs.submission import check_priority
from stablequeue_hub.store.tables import jobs

IDS_MAX = 500

_Step: TypeAlias = Callable[[Connection, str, str, int], None]
"""(connection, job id, actor, now in ms); raises a StableQueueError before it changes anything."""


def do_actions(
    connection: Connection, wanted: JobActions, principal: Principal, *, now_ms: int
) -> ActionResults:
    """Raises InvalidValueError and TooLargeError for what cannot be meant for any job."""
    if len(wanted.ids) > IDS_MAX:
        raise TooLargeError(f"One request changes at most {IDS_MAX} jobs.")
    step = _step(wanted)
    results = []
    for job_id in dict.fromkeys(wanted.ids):
        try:
            check_may_change(connection, job_id, principal)
            step(connection, job_id, principal.actor, now_ms)
        except StableQueueError as error:
            problem = ActionProblem(error.code, error.message, error.remedy)
            results.append(ActionResult(job_id, problem))
        else:
            results.append(ActionResult(job_id))
    return ActionResults(results)


def _step(wanted: JobActions) -> _Step:
    if wanted.action == "priority":
        if wanted.value is None:
            raise InvalidValueError("A priority needs a `value`.")
        check_priority(wanted.value)
        return partial(_set_priority, wanted.value)
    return _STEPS[wanted.action]


def _move(by: int, connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    before = connection.scalar(sa.select(jobs.c.priority).where(jobs.c.job_id == job_id)) or 0
    _set_priority(min(PRIORITY_MAX, max(PRIORITY_MIN, before + by)), connection, job_id, actor, now_ms)


def _set_priority(priority: int, connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    details = {"changed": ["priority"]}
    change_pending(connection, job_id, {"priority": priority}, actor=actor, now_ms=now_ms, details=details)


def _cancel(connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    change_state(connection, job_id, "cancelled", action="job_cancelled", actor=actor, now_ms=now_ms)


def _delete(connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    delete_job(connection, job_id, actor=actor, now_ms=now_ms)


def _star(connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    star_job(connection, job_id, True, actor=actor, now_ms=now_ms)


def _unstar(connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    star_job(connection, job_id, False, actor=actor, now_ms=now_ms)


def _retry(connection: Connection, job_id: str, actor: str, now_ms: int) -> None:
    retry_job(connection, job_id, actor=actor, now_ms=now_ms)


_STEPS: dict[str, _Step] = {
    "cancel": _cancel,
    "delete": _delete,
    "star": _star,
    "unstar": _unstar,
    "retry": _retry,
    "earlier": partial(_move, 1),
    "later": partial(_move, -1),
}
