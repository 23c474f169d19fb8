"""The connections of the hub's socket: bounded, and none stays that says or reads nothing.

A connection costs a file of the process. One that never asks, or asks a letter at a time, ends after
``HEAD_S``; one whose client reads nothing of an answer after ``STALLED_S``; and where too many are open, the
one that has been idle for longest makes room.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 15.0
"""So long may the head of a request take, from the connection or from its first byte."""
STALLED_S = 30.0
CONNECTIONS_MAX = 4096
STREAM_BUFFER_BYTES = 64 * 1024
"""Of the system, for an event stream: else megabytes go to who reads nothing before that is noticed."""
STREAM_PATH = "/api/v1/events/stream"


def connections_max() -> int:
    """How many connections this process can hold, after asking the system for as many files as it gives."""
    if sys.platform == "win32":
        return CONNECTIONS_MAX
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS_MAX
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    files = wanted if soft == resource.RLIM_INFINITY else soft
    return max(16, min(CONNECTIONS_MAX, files - max(64, files // 4)))


class BoundedProtocol(H11Protocol):
    """One connection. ``most`` is set once, by the server's process."""

    most = CONNECTIONS_MAX

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self.idle_since = self.loop.time()
        self._expect_head()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        self._cancel_stall_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self.is_idle:
            self._expect_head()
        super().data_received(data)
        if not self.is_idle:
            self._cancel_head_timer()
            if self.scope["path"].endswith(STREAM_PATH):
                self._bound_system_buffer()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._cancel_stall_timer()
        super().resume_writing()

    @property
    def is_idle(self) -> bool:
        """No request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def has_asked(self) -> bool:
        return self.cycle is not None

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._end_if_idle)

    def _end_if_idle(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.transport.abort()

    def _watch_reader(self) -> None:
        self._cancel_stall_timer()
        left = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALLED_S, self._end_if_unread, left)

    def _end_if_unread(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._watch_reader()
        else:
            self.transport.abort()

    def _make_room(self) -> None:
        if len(self.connections) <= self.most:
            return
        others: list[Any] = [one for one in self.connections if one is not self]
        idle = [one for one in others if isinstance(one, BoundedProtocol) and one.is_idle]
        leaving = min(idle, key=lambda one: (one.has_asked, one.idle_since), default=self)
        self.connections.discard(leaving)
        leaving.transport.abort()

    def _bound_system_buffer(self) -> None:
        own = self.transport.get_extra_info("socket")
        with suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
