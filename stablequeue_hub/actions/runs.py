"""What a runner brings: pictures, and the end of a run. Its other requests go to the dispatcher."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from stablequeue_client.shared.wire.runner import FinishAnswer, FinishRequest
from stablequeue_hub.dispatch.finish import former_answer, kept_picture
from stablequeue_hub.dispatch.runs import current_run
from stablequeue_hub.errors import StaleRunError
from stablequeue_hub.hub import Hub
from stablequeue_hub.jobs.list import picture_is_named
from stablequeue_hub.jobs.picture_files import StagedPicture


async def receive_picture(
    hub: Hub, server_id: str, job_id: str, fence: int, number: int, data: Callable[[], Awaitable[bytes]]
) -> StagedPicture:
    """Keep one picture until the run ends; ``data`` reads it, once its run is known. Sent again, it replaces
    the former; after the end it must be the one that is kept. Raises StaleRunError, InvalidValueError,
    DataFolderError."""

    def check(connection: Connection) -> None:
        current_run(connection, job_id, fence, server_id)

    try:
        await hub.reading(check)
    except StaleRunError:
        kept = await hub.reading(lambda c: kept_picture(c, server_id, job_id, fence, number))
        if kept is None or hashlib.sha256(await data()).hexdigest() != kept.sha256:
            raise
        return kept
    picture = await data()
    # It may have taken minutes. A run that ended meanwhile keeps the pictures it ended with.
    await hub.reading(check)
    hub.leases.renew(job_id, fence)
    stored = await run_in_threadpool(hub.pictures.stage, job_id, fence, number, picture)
    try:
        await hub.reading(check)
    except StaleRunError:
        # Its job was cancelled, perhaps deleted, while this was written: the picture goes as well.
        if not await hub.reading(lambda connection: picture_is_named(connection, job_id, stored.file)):
            await run_in_threadpool(hub.pictures.remove, stored.file)
        raise
    return stored


async def finish_run(hub: Hub, server_id: str, message: FinishRequest) -> FinishAnswer:
    """The run ended: judge the pictures it brought. Told again, it gets its first answer.

    Raises StaleRunError, InvalidValueError.
    """

    def check(connection: Connection) -> FinishAnswer | None:
        former = former_answer(connection, server_id, message)
        if former is None:
            current_run(connection, message.job_id, message.fence, server_id)
        return former

    former = await hub.reading(check)
    if former is not None:
        return former
    staged = await run_in_threadpool(hub.pictures.staged, message.job_id, message.fence, message.pictures)
    return await hub.dispatcher.finish(server_id, message, staged)
