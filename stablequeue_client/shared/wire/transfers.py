"""The wire contract of copies between servers: what a person asks for, what target and source do. Pure.

A copy (transfer) brings one content to one server, its target. The target's agent claims it, asks for ranges
of bytes and alone writes; the source's agent answers ranges. Today they meet at the hub (the way ``relay``);
a range is asked for and answered in the same words whatever lies between. Whoever comes with a ``fence`` that
does not count any more gets 409 ``stale_transfer``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from stablequeue_client.shared.model_files.model_file import Kind

CHUNK_BYTES = 8 * 1024 * 1024
"""The most that is asked for, and sent, in one request."""
CHUNK_MIN_BYTES = 512 * 1024
"""A source whose proxy refuses a chunk sends half of it, down to this."""
WAIT_MAX_S = 20.0
"""How long a request waits for the other side."""
REPORT_EVERY_S = 2.0
SIZE_MAX = 2**53
TRANSFER_TEXT_MAX = 1_000

Receive = Literal["never", "ask", "peers", "all"]
TransferState = Literal[
    "planned",  # wanted; no server can hand it out just now
    "asked",  # waits until a person accepts it
    "waiting",  # waits until its target begins
    "running",
    "verifying",
    "done",
    "failed",
    "cancelled",
]
Way = Literal["relay"]


class TransferPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """``PUT /api/v1/servers/{server_id}/transfers/policy``: what the owner of a server allows, said by its
    agent at each start, which also keeps to it. A server that never said it takes and gives nothing.

    ``receive``: ``never``; ``ask`` (a person accepts each); ``peers`` (by itself, from other servers of this
    hub); ``all`` (from the internet too, once that exists). ``hand_out``: others may copy from it.
    """

    receive: Receive = "never"
    hand_out: bool = False


class TransferRequest(msgspec.Struct, frozen=True):
    """``POST /api/v1/transfers``. ``target``: id or alias of a server. A copy of the same content to it that
    has not ended is answered instead of a second one."""

    sha256: str
    target: str


class TransferInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One copy. ``text``: in a sentence why it waits, or how it ended. ``asked_by``: an actor as events have
    it, ``hub`` for a copy that jobs wait for; ``by``: its name. ``progress``: 0 to 1."""

    id: int
    sha256: str
    name: str
    kind: Kind
    size: int
    state: TransferState
    target_id: str
    target: str
    source_id: str | None
    source: str | None
    way: Way
    asked_by: str
    by: str
    created_ms: int
    changed_ms: int
    text: str = ""
    ended_ms: int | None = None
    bytes_done: int = 0
    bytes_per_s: int = 0
    progress: float | None = None
    failure: str | None = None
    path: str | None = None


class TransferList(msgspec.Struct, frozen=True):
    """``GET /api/v1/transfers``: those under way, then those that ended, newest first."""

    transfers: list[TransferInfo]


class TransferOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../transfers/next`` by a target: what it is to fetch, or null. ``name``: the file's there
    (the last part of its wire path), a wish; ``by_person``: somebody asked for it or accepted it."""

    transfer_id: int
    fence: int
    sha256: str
    size: int
    kind: Kind
    name: str
    by_person: bool = False
    source: str = ""


class TransferReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../transfers/{id}/report`` by the target. ``failed`` has a stable ``code`` and a sentence;
    ``done`` the wire path below its folder."""

    fence: int
    state: Literal["running", "verifying", "done", "failed"]
    bytes_done: int = 0
    bytes_per_s: int = 0
    code: str = ""
    text: str = ""
    path: str = ""


class ReportAnswer(msgspec.Struct, frozen=True):
    """``stop``: the copy is not this agent's any more. ``discard``: it was cancelled, so nothing is kept."""

    stop: bool = False
    discard: bool = False


class WantedChunks(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../transfers/wanted`` by a source: the next range that a target asks for; it may wait for one
    up to ``WAIT_MAX_S``."""

    wait_s: float = 0.0


class WantedChunk(msgspec.Struct, frozen=True):
    """A range of a content. The source sends it, or its beginning, with
    ``PUT .../transfers/{id}/chunks/{offset}?fence=``; the answer is the next range, or null."""

    transfer_id: int
    fence: int
    sha256: str
    offset: int
    length: int


class SourceRefusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST .../transfers/{id}/refuse`` by a source that cannot send: ``source_changed`` (the file is not
    what was read), ``not_here``, ``not_handed_out``, ``chunk_too_large`` (a proxy lets nothing through)."""

    fence: int
    code: Literal["source_changed", "not_here", "not_handed_out", "chunk_too_large", "unreadable"]
    text: str = ""
