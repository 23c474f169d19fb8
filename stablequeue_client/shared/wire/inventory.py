"""The wire contract between a server and the hub: every message once, limits, the digest. Pure.

A row's digest is the SHA256 of the canonical JSON (sorted keys, sorted lists, no nulls, no spaces, ASCII)
of the whole entry as sent; an inventory's digest is the sum of its row digests modulo 2**256. Both sides
compute it with the functions of this file, the hub from the entry as received, before judging its fields.

A *wire path* is ``/``-joined UTF-8 in which ``\\xHH`` stands for one byte of the name: every byte of a
control character (C0, DEL, C1), of an undecodable sequence, and ``\\`` itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from stablequeue_client.shared.wire.orders import Order

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
SERVICE_NAME = "stablequeue-hub"

HEARTBEAT_INTERVAL_S = 10.0
UNREACHABLE_AFTER_S = 35.0
HEARTBEAT_MAX_BYTES = 512
SYNC_MAX_ROWS = 50_000
SYNC_MAX_BYTES = 64 * 1024 * 1024
"""Largest body after decompression."""
SYNC_MAX_COMPRESSED_BYTES = 16 * 1024 * 1024
CAPABILITIES_MAX_BYTES = 64 * 1024
WANT_METADATA_MAX = 100
AVAILABILITY_MAX_HASHES = 1_000
WIRE_PATH_MAX = 4_096
CLAIMS_MAX = 16
JSON_MAX_DEPTH = 32
MISMATCH_BACKOFF_S = 300.0

_DIGEST_MODULUS = 1 << 256
_INT64 = 1 << 63


# --- wire paths ---------------------------------------------------------------------------------------

_SPECIAL = re.compile("[\x00-\x1f\x7f-\x9f\\\\\ud800-\udfff]")
_ESCAPE = re.compile(rb"\\x([0-9A-F]{2})")


def wire_path(native: str, *, windows: bool = False) -> str:
    """``native`` (a relative path as ``os`` functions give it) as a wire path.

    On Windows ``\\`` separates; elsewhere it is a character of the name. Reversed by ``native_path``.
    """
    if windows:
        native = native.replace("\\", "/")
    handler = "surrogatepass" if windows else "surrogateescape"
    if not _SPECIAL.search(native):
        return native

    def escape(match: re.Match[str]) -> str:
        return "".join(f"\\x{byte:02X}" for byte in match.group().encode("utf-8", handler))

    return _SPECIAL.sub(escape, native)


def native_path(wire: str, *, windows: bool = False) -> str:
    """The path that ``wire_path`` was given. Raises ValueError for what is no wire path."""
    if "\\" not in wire:
        raw = wire
    else:
        data = wire.encode("utf-8")
        plain = _ESCAPE.sub(lambda match: bytes.fromhex(match.group(1).decode()), data)
        if wire.count("\\") != len(_ESCAPE.findall(data)):
            raise ValueError("a backslash that does not start \\xHH")
        raw = plain.decode("utf-8", "surrogatepass" if windows else "surrogateescape")
    return raw.replace("/", "\\") if windows else raw


def wire_path_problem(path: str) -> str | None:
    """Return why ``path`` is no acceptable wire path, or None. Relative, no ``.`` or ``..``, canonical
    escapes."""
    if not path or len(path) > WIRE_PATH_MAX:
        return f"path is empty or longer than {WIRE_PATH_MAX} characters"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "path is absolute or has an empty, '.' or '..' part"
    if _SPECIAL.search(path.replace("\\x", "")):
        return "path has a control character or a stray backslash"
    try:
        if "\x00" in native_path(path):
            return "path has a NUL byte"
    except ValueError:
        return "path has a malformed escape"
    return None


# --- digests ------------------------------------------------------------------------------------------


def canonical_json(value: Any) -> bytes:
    """Sorted keys, sorted lists, no nulls, no spaces, ASCII. Lists are sorted by their canonical form.

    What nearly every entry consists of (texts of printable ASCII, whole numbers, objects, lists) is written
    by msgspec, several times faster; the rest by the standard library, whose form is the definition.
    """
    if type(value) is dict:
        try:
            plain = msgspec.json.encode(_plain_object(value))
        except (_NotPlain, UnicodeEncodeError):
            return _canonical_json(value)
        # Whatever JSON has to escape is left to the definition below.
        if plain.isascii() and b"\\" not in plain and b"\x7f" not in plain:
            return plain
    return _canonical_json(value)


class _NotPlain(Exception):  # noqa: N818 (a signal, no failure)
    """A value that the two encoders may write differently."""


def _plain_object(value: dict[str, Any]) -> dict[str, Any]:
    ordered: dict[str, Any] = {}
    for name in sorted(value):
        item = value[name]
        kind = type(item)
        if kind is str or (kind is int and -_INT64 <= item < _INT64):
            ordered[name] = item
        elif kind is dict:
            ordered[name] = _plain_object(item)
        elif kind is list or kind is tuple:
            ordered[name] = [msgspec.Raw(text) for text in sorted(map(canonical_json, _present(item)))]
        elif item is not None:
            raise _NotPlain
    return ordered


def _present(items: Iterable[Any]) -> Iterable[Any]:
    return (item for item in items if item is not None)


def _canonical_json(value: Any) -> bytes:
    return json.dumps(
        _canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        items = [_canonical(item) for item in value if item is not None]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True, separators=(",", ":")))
    return value


def row_digest(entry: dict[str, Any]) -> bytes:
    """32 bytes: the digest of one upsert or root exactly as it is sent."""
    return hashlib.sha256(canonical_json(entry)).digest()


def digest_sum(digests: Iterable[bytes], start: int = 0) -> int:
    """The sum of row digests modulo 2**256, added to ``start``."""
    return (start + sum(int.from_bytes(digest, "big") for digest in digests)) % _DIGEST_MODULUS


def digest_difference(start: int, digests: Iterable[bytes]) -> int:
    """``start`` without these row digests, modulo 2**256."""
    return (start - sum(int.from_bytes(digest, "big") for digest in digests)) % _DIGEST_MODULUS


def digest_hex(value: int) -> str:
    """64 lower-case hex digits."""
    return f"{value:064x}"


# --- messages -----------------------------------------------------------------------------------------


class WireDigests(msgspec.Struct, frozen=True, omit_defaults=True):
    """Digests computed from the bytes, lower-case hex: 64, 64, 8 and 12 digits."""

    sha256: str | None = None
    blake3: str | None = None
    autov1: str | None = None
    autov3: str | None = None


class WireClaim(msgspec.Struct, frozen=True):
    """What somebody else says of the file: ``source``, which ``digest``, ``value``. Types as Claim's."""

    source: str
    digest: str
    value: str


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model file. (root, path) is the key; ``path`` is a wire path. ``link``: another name (a symbolic
    or hard link) of a file that lies there already, so it takes no space of its own."""

    root: str
    path: str
    kind: str
    size: int
    state: str
    digests: WireDigests | None = None
    claims: tuple[WireClaim, ...] | None = None
    link: bool = False


class RootEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model folder. ``label`` is what people see (the end of its path, never the whole)."""

    root: str
    kind: str
    health: str
    label: str | None = None


class Removal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The key of a row that is gone; without ``path`` it is a root's."""

    root: str
    path: str | None = None


class SyncRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /api/v1/servers/{server_id}/models/sync``, gzipped JSON.

    ``mode`` full: everything, ``removals`` empty, ``base_sequence`` 0. ``mode`` delta: the rows whose
    sequence is above ``base_sequence``. ``sequence`` and ``digest`` describe the inventory afterwards.
    ``roots`` and ``upserts`` stay undecoded here: each is judged by itself, as received.
    """

    protocol: int
    index_id: str
    mode: Literal["full", "delta"]
    base_sequence: int
    sequence: int
    digest: str
    roots: list[msgspec.Raw] = []
    upserts: list[msgspec.Raw] = []
    removals: list[Removal] = []


class RejectedEntry(msgspec.Struct, frozen=True):
    """An entry the hub keeps but offers to nobody, and why."""

    root: str
    path: str
    reason: str


class SyncAnswer(msgspec.Struct, frozen=True):
    """200 of a sync: what the hub now has, entries it could not accept, metadata it wants (SHA256s)."""

    sequence: int
    digest: str
    rejected: list[RejectedEntry] = []
    want_metadata: list[str] = []


class Activity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the server is doing now. Bytes and files of the current round; ``eta_s`` None when unknown."""

    phase: Literal["idle", "scanning", "hashing", "paused"] = "idle"
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    eta_s: int | None = None


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /api/v1/servers/{server_id}/heartbeat``, at most 512 bytes.

    ``boot_id`` is random per process, ``boot_counter`` numbers its heartbeats from 1, ``orders_seen`` is
    the highest order id already taken over.
    """

    boot_id: str
    boot_counter: int
    index_id: str
    sequence: int
    digest: str
    activity: Activity = Activity()
    orders_seen: int = 0


class HeartbeatAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``want`` names the sync the hub needs; orders are repeated until ``orders_seen`` covers them.
    ``transfers``: there are copies that this server receives or hands out."""

    want: Literal["full", "delta"] | None = None
    orders: list[Order] = []
    transfers: bool = False


class JoinRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``POST /api/v1/servers/join`` with a join key as Bearer. The server made both id and secret itself.

    ``secret`` is 64 hex digits; afterwards the server's key is ``sq_<server_id>_<secret>``.
    """

    server_id: str
    secret: str
    alias: str
    version: str = ""


class JoinAnswer(msgspec.Struct, frozen=True):
    """The alias the hub gave (the wished one, or with a number behind it) and the hub's id."""

    server_id: str
    alias: str
    hub_id: str


WorksForOthers = Literal["never", "idle", "always"]
"""May this server run other people's jobs: never, when nobody has used it for 10 minutes, always."""


class ServerCapabilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """``PUT /api/v1/servers/{server_id}/capabilities``: what the WebUI of a server can do, as it names it.

    ``webui`` is its family ("forge", "classic", "a1111"), ``architectures`` what it can load ("sd1", "sdxl",
    "flux"), ``fields`` the names at the top of its API's JSON. Lists are sorted. At most
    ``CAPABILITIES_MAX_BYTES`` as JSON. Sent again when it changed.
    """

    webui: str
    webui_version: str = ""
    extension_version: str = ""
    scripts: list[str] = []
    alwayson_scripts: list[str] = []
    samplers: list[str] = []
    schedulers: list[str] = []
    upscalers: list[str] = []
    controlnet_models: list[str] = []
    architectures: list[str] = []
    gpu: str = ""
    gpu_memory_mb: int | None = None
    works_for_others: WorksForOthers = "never"
    fields: list[str] = []


class ProtocolRange(msgspec.Struct, frozen=True):
    min: int
    max: int


class Health(msgspec.Struct, frozen=True):
    """``GET /healthz``, public. ``bodies_in_pieces``: it takes large bodies as ``wire.pieces`` says."""

    service: str
    hub_id: str
    protocol: ProtocolRange
    version: str = ""
    bodies_in_pieces: bool = False


def encode(message: msgspec.Struct) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def entry_dict(entry: FileEntry | RootEntry) -> dict[str, Any]:
    """The entry as plain values, exactly the fields that are sent."""
    built: dict[str, Any] = msgspec.to_builtins(entry)
    return built
