"""The wire contract of managing the queue: what may be asked about jobs that are there. Pure."""

from __future__ import annotations

import msgspec


class QueueServer(msgspec.Struct, frozen=True):
    """A server, and whether its owner or an admin keeps jobs from it."""

    server_id: str
    alias: str
    paused: bool


class QueueInfo(msgspec.Struct, frozen=True):
    """``GET /api/v1/queue``. ``jobs``: how many in each state. ``paused``: no server gets a job."""

    jobs: dict[str, int]
    paused: bool
    servers: list[QueueServer]
