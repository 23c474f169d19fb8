"""What is done with jobs: queue, edit, decide, end, delete. Their submitter may, and an admin.

Afterwards the dispatcher is told, and who waits for a job or for events; pictures of deleted jobs go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from stablequeue_client.shared.errors import InvalidValueError, StableQueueError, TooLargeError
from stablequeue_client.shared.generation.infotext import HashMention
from stablequeue_client.shared.wire.jobs import JobInfo, JobSubmission, Submitted
from stablequeue_client.shared.wire.queue import (
    ActionProblem,
    ActionResult,
    ActionResults,
    Decided,
    Decision,
    EditedJob,
    JobActions,
    JobEdit,
    RunAgain,
)
from stablequeue_hub.access.keys import Principal
from stablequeue_hub.hub import Hub
from stablequeue_hub.jobs import decisions, edit, resubmission, rows, submission
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.jobs.permissions import check_may_change
from stablequeue_hub.jobs.states import PRIORITY_MAX, PRIORITY_MIN
from stablequeue_hub.store.tables import jobs

IDS_MAX = 500
T = TypeVar("T")


# --- new ones -------------------------------------------------------------------------------------------


async def submit_job(
    hub: Hub,
    who: Principal,
    wanted: JobSubmission,
    *,
    mentions: Sequence[HashMention] = (),
    also: Callable[[Connection, Submitted], None] | None = None,
) -> Submitted:
    """Queue a job, or several. ``also``: more for the same transaction. Raises what ``submit`` does."""

    def make(connection: Connection, **by: Any) -> Submitted:
        made = submission.submit(
            connection, wanted, hub.presence, own_server=who.server_id, mentions=mentions, **by
        )
        if also is not None:
            also(connection, made)
        return made

    return await _queue(hub, who, make)


async def run_again(hub: Hub, who: Principal, job_id: str, wanted: RunAgain) -> Submitted:
    """Queue a new job that generates the same. Raises what ``resubmission.run_again`` does."""
    return await _queue(
        hub, who, lambda c, **by: resubmission.run_again(c, job_id, wanted, hub.presence, **by)
    )


async def _queue(hub: Hub, who: Principal, make: Callable[..., Submitted]) -> Submitted:
    now_ms = hub.clock.now_ms()
    if who.server_id is not None:  # somebody is at that WebUI, and wants it to work
        hub.dispatcher.clear_cooldown(who.server_id)
    made = await hub.writing(lambda connection: make(connection, actor=who.actor, now_ms=now_ms))
    await hub.dispatcher.jobs_changed(made.job_ids)
    return made


# --- one that is there ----------------------------------------------------------------------------------


async def edit_job(hub: Hub, who: Principal, job_id: str, wanted: JobEdit) -> EditedJob:
    """Raises ForbiddenError and what ``edit.edit_job`` does."""
    edited = await _change(
        hub, who, job_id, lambda c, **by: edit.edit_job(c, job_id, wanted, hub.presence, **by)
    )
    await hub.dispatcher.jobs_changed([job_id])
    return edited


async def decide(hub: Hub, who: Principal, job_id: str, wanted: Decision) -> Decided:
    """What is to be done about a model that the job waits for. Raises ForbiddenError and what
    ``decisions.decide`` does."""

    def work(connection: Connection, **by: Any) -> Decided:
        ids = decisions.decide(connection, job_id, wanted, hub.presence, **by)
        return Decided(job_in_full(connection, job_id), ids)

    decided = await _change(hub, who, job_id, work)
    await hub.dispatcher.jobs_changed(decided.job_ids)
    return decided


async def act_on_job(hub: Hub, who: Principal, action: str, job_id: str) -> JobInfo:
    """One of ``JOB_ACTIONS`` but ``delete``; the job as it is then. Raises ForbiddenError, NotFoundError, and
    JobStateError where the job is in no state for it."""

    def work(connection: Connection, **by: Any) -> JobInfo:
        JOB_ACTIONS[action](connection, job_id, **by)
        return job_in_full(connection, job_id)

    job = await _change(hub, who, job_id, work)
    await _changed(hub, action, [job_id])
    return job


async def _changed(hub: Hub, action: str, job_ids: Sequence[str]) -> None:
    if action == "retry":  # servers may try again to load what they failed to load
        hub.dispatcher.servers_changed()
    await hub.dispatcher.jobs_changed(job_ids)


async def delete_job(hub: Hub, who: Principal, job_id: str) -> None:
    """With its prompt, its pictures and its events. Raises ForbiddenError, NotFoundError, and JobStateError
    while a server works on it."""
    await _change(hub, who, job_id, lambda c, **by: rows.delete_job(c, job_id, **by))
    await jobs_deleted(hub, [job_id])


async def _change(hub: Hub, who: Principal, job_id: str, work: Callable[..., T]) -> T:
    now_ms = hub.clock.now_ms()

    def checked(connection: Connection) -> T:
        check_may_change(connection, job_id, who)
        return work(connection, actor=who.actor, now_ms=now_ms)

    return await hub.writing(checked)


async def jobs_deleted(hub: Hub, job_ids: Sequence[str]) -> None:
    """To be told after jobs were deleted: their pictures go too, and their prompts from the disk."""
    hub.log_holds_deleted = True
    hub.event_feed.forget(job_ids)
    await run_in_threadpool(hub.pictures.remove_jobs, job_ids)
    await hub.dispatcher.jobs_changed(job_ids)


# --- many -----------------------------------------------------------------------------------------------


async def act_on_jobs(hub: Hub, who: Principal, wanted: JobActions) -> ActionResults:
    """The same for many jobs: each is done or says why not, and none keeps the others from it. Raises
    InvalidValueError and TooLargeError for what cannot be meant for any job."""
    if len(wanted.ids) > IDS_MAX:
        raise TooLargeError(f"One request changes at most {IDS_MAX} jobs.")
    act, now_ms = _action_of(wanted), hub.clock.now_ms()

    def result(connection: Connection, job_id: str) -> ActionResult:
        try:
            check_may_change(connection, job_id, who)
            act(connection, job_id, actor=who.actor, now_ms=now_ms)
        except StableQueueError as error:
            return ActionResult(job_id, ActionProblem(error.code, error.message, error.remedy))
        return ActionResult(job_id)

    ids = dict.fromkeys(wanted.ids)
    results = await hub.writing(lambda connection: [result(connection, job_id) for job_id in ids])
    done = [result.job_id for result in results if result.problem is None]
    if done and wanted.action == "delete":
        await jobs_deleted(hub, done)
    elif done:
        await _changed(hub, wanted.action, done)
    return ActionResults(results)


class _JobAction(Protocol):
    """Raises a StableQueueError before it changes anything."""

    def __call__(self, connection: Connection, job_id: str, /, *, actor: str, now_ms: int) -> None: ...


def _action_of(wanted: JobActions) -> _JobAction:
    if wanted.action == "priority":
        if wanted.value is None:
            raise InvalidValueError("`priority` requires a `value`.")
        submission.check_priority(wanted.value)
        return partial(_set_priority, priority=wanted.value)
    return JOB_ACTIONS[wanted.action]


def _move(connection: Connection, job_id: str, *, by: int, actor: str, now_ms: int) -> None:
    before = connection.scalar(sa.select(jobs.c.priority).where(jobs.c.job_id == job_id)) or 0
    priority = min(PRIORITY_MAX, max(PRIORITY_MIN, before + by))
    _set_priority(connection, job_id, priority=priority, actor=actor, now_ms=now_ms)


def _set_priority(connection: Connection, job_id: str, *, priority: int, actor: str, now_ms: int) -> None:
    details = {"changed": ["priority"]}
    rows.change_pending(
        connection, job_id, {"priority": priority}, actor=actor, now_ms=now_ms, details=details
    )


JOB_ACTIONS: Mapping[str, _JobAction] = {
    "cancel": partial(rows.change_state, state="cancelled", action="job_cancelled"),
    "delete": rows.delete_job,
    "accept": rows.accept_job,
    "star": partial(rows.star_job, starred=True),
    "unstar": partial(rows.star_job, starred=False),
    "retry": decisions.retry_job,
    "earlier": partial(_move, by=1),
    "later": partial(_move, by=-1),
}
