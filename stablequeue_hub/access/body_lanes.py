"""Large request bodies have a lane for each kind, so that few of them are in memory at once.

Who asks for the body enters, and leaves when the request is answered. Those behind wait at their socket,
where a body costs nothing, for a while; then they are asked to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

from stablequeue_client.shared.errors import BusyError

BodyKind = Literal["job", "picture", "inventory", "chunk", "other"]
AT_ONCE: dict[BodyKind, int] = {"job": 2, "picture": 3, "inventory": 2, "chunk": 8, "other": 4}
LARGE_BYTES = 1024 * 1024
WAIT_S = 15.0
RETRY_AFTER_S = 5.0
LEAVE_KEY = "stablequeue_leave_lanes"
"""Of a request's scope: what the middleware calls once the request is answered."""


class BodyLanes:
    """One lane for each kind of body. Belongs to the event loop."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._lanes = {kind: asyncio.Semaphore(count) for kind, count in AT_ONCE.items()}

    async def enter(self, kind: BodyKind, scope: MutableMapping[str, Any]) -> None:
        """Wait for a place, which is kept until the request is answered. Raises BusyError."""
        lane = self._lanes[kind]
        try:
            await asyncio.wait_for(lane.acquire(), self._wait_s)
        except asyncio.TimeoutError:
            details = {"retry_after_s": RETRY_AFTER_S}
            raise BusyError(
                "Too many large requests are being answered right now.", details=details
            ) from None
        leave: list[Callable[[], None]] | None = scope.get(LEAVE_KEY)
        assert leave is not None, "only behind the middleware"
        leave.append(lane.release)
