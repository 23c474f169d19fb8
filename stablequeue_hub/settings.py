"""What the hub is told at its start. Frozen; made once by ``__main__`` or a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT = 8383
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class HubSettings:
    """``port`` is the one it really listens on. ``allowed_hosts``: further names it may be called by.

    ``full_syncs``: how many large syncs are worked on at once; others wait ``sync_wait_s`` seconds, then
    are sent away with 429. ``requests_per_s`` is for each key or session, 0: no limit. ``events_days``: how
    long the history is kept, 0: for ever. ``legacy_open``: the old contract's first version needs no key.
    ``stream_s``: how long one connection gets events as they happen. ``jobs_days``: how long jobs that ended
    are kept, 0: for ever. ``pictures_gb``: how many 10^9 bytes all pictures may have, 0: any number.
    """

    data_dir: Path
    port: int = DEFAULT_PORT
    host: str = LOOPBACK
    allowed_hosts: tuple[str, ...] = ()
    full_syncs: int = 1
    sync_wait_s: float = 10.0
    body_timeout_s: float = 60.0
    requests_per_s: float = 50.0
    events_days: int = 365
    jobs_days: int = 30
    pictures_gb: int = 20
    stream_s: float = 3600.0
    legacy_open: bool = False
    backup_confirmed: bool = False  # its owner made a backup, so the schema may change without one of ours
    database_url: str | None = field(default=None, repr=False)  # may hold a password
