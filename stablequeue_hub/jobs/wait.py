"""Waiting for a job's end: no thread and no database session is held meanwhile."""

from __future__ import annotations

import asyncio

from stablequeue_client.shared.wire.jobs import JobInfo
from stablequeue_hub.events.change_notifier import ChangeNotifier
from stablequeue_hub.jobs.list import job_in_full
from stablequeue_hub.jobs.rows import state_of
from stablequeue_hub.jobs.states import ENDED
from stablequeue_hub.store.engine import Store

WAIT_MAX_S = 45
"""Proxies end a silent request after 60 seconds, some a little earlier."""
WAIT_ACCEPTED_MAX_S = 60
"""What may be asked for; the answer comes after ``WAIT_MAX_S`` at the latest."""


async def job_when_ended(store: Store, notifier: ChangeNotifier, job_id: str, wait_s: float) -> JobInfo:
    """The job once it ended, or as it is after ``wait_s`` seconds (at most WAIT_MAX_S), or when the hub ends.

    Raises NotFoundError, also when the job is deleted meanwhile.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + min(wait_s, WAIT_MAX_S)
    while wait_s > 0:
        change = notifier.next_change_of(job_id)
        state = await store.reading(lambda connection: state_of(connection, job_id))
        if state in ENDED or not await notifier.wait(change, until - loop.time()):
            break
    return await store.reading(lambda connection: job_in_full(connection, job_id))
