"""The pictures of jobs, brought from the hub for the tab; only what is a PNG is passed on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.webui.parts.runtime import Runtime

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MEDIA_TYPE = "image/png"
_lane = ThreadPoolExecutor(max_workers=2, thread_name_prefix="stablequeue-pictures")
"""Pictures are large and many: they hold up neither views nor what a person does."""


async def picture(rt: Runtime, job_id: str, number: int) -> bytes:
    """One picture as the hub has it, up to ``PICTURE_MAX_BYTES``. Raises NotFoundError, NoHubError,
    HubAwayError."""

    def fetch() -> bytes:
        return rt.calls.run(lambda hub: hub.job_picture(job_id, number))

    data = await asyncio.get_running_loop().run_in_executor(_lane, fetch)
    if not data.startswith(SIGNATURE):
        raise NotFoundError("The hub's file for this picture is not a PNG.", remedy="Look at the hub's page.")
    return data
