"""A sync's body as judged rows. Pure: no database.

Every entry is judged by itself: a wrong one becomes a row with the reason in ``rejected``, which keeps its
place in the inventory's digest and is offered to nobody. Its digest is taken from the entry as received,
before any field is looked at.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from stablequeue_client.shared.errors import InvalidValueError, ProtocolMismatchError, TooLargeError
from stablequeue_client.shared.model_files.model_file import (
    FILE_STATES,
    KINDS,
    ROOT_HEALTHS,
    SHA256_OF_NOTHING,
    search_key,
    webui_name,
)
from stablequeue_client.shared.wire.inventory import (
    CLAIMS_MAX,
    JSON_MAX_DEPTH,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    SYNC_MAX_BYTES,
    SYNC_MAX_COMPRESSED_BYTES,
    SYNC_MAX_ROWS,
    SyncRequest,
    row_digest,
    wire_path_problem,
)

BIGINT_MAX = 2**63 - 1
RATIO_MAX = 200
"""Real inventories shrink to a tenth at best, their digests do not compress at all."""
_RATIO_COUNTS_ABOVE = 1 << 20
_STEP_IN = 1 << 16
_STEP_OUT = 1 << 20
_ROOTS_MAX = 1_000
_LABEL_MAX = 200
_PATH_KEY_MAX_BYTES = 2_000

_INDEX_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_ROOT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST_FORMS = {
    "sha256": _SHA256,
    "blake3": _SHA256,
    "autov3": re.compile(r"[0-9a-f]{12}"),
    "autov2": re.compile(r"[0-9a-f]{10}"),
    "autov1": re.compile(r"[0-9a-f]{8}"),
}  # in the order of their strength
_WIRE_DIGESTS = ("sha256", "blake3", "autov1", "autov3")
_CLAIM_SOURCES = frozenset(("sidecar", "civitai", "header", "webui_cache"))
_KINDS = frozenset(KINDS)
_STATES = frozenset(FILE_STATES)
_HEALTHS = frozenset(ROOT_HEALTHS)


class ServerRootRow(msgspec.Struct, frozen=True):
    """A judged root. ``rejected`` says why it is none that files may lie in."""

    root: str
    kind: str
    health: str
    label: str | None
    rejected: str | None
    digest: bytes


class ServerFileRow(msgspec.Struct, frozen=True):
    """A judged file. ``path`` is the key form of its wire path. ``claim`` is the strongest claim on a file
    that is not ready (``sha256:<value>``), None when there is none or claims contradict each other.
    ``link`` 1: another name of a file that is here already."""

    root: str
    path: str
    kind: str
    name: str
    name_key: str
    size: int
    state: str
    sha256: str | None
    blake3: str | None
    autov1: str | None
    autov3: str | None
    claims_json: str | None
    claim: str | None
    rejected: str | None
    digest: bytes
    link: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return (self.root, self.path)

    @property
    def content(self) -> str | None:
        """The SHA256 that makes this file available as a model, or None."""
        return self.sha256 if self.state == "ready" and self.rejected is None else None


class DecodedSync(msgspec.Struct, frozen=True):
    """A sync request whose entries are digested and judged, each by itself. Keys are unique.

    ``removed_files`` and ``removed_roots`` are empty in a full one.
    """

    index_id: str
    mode: str
    base_sequence: int
    sequence: int
    digest: str
    roots: tuple[ServerRootRow, ...]
    files: tuple[ServerFileRow, ...]
    removed_files: tuple[tuple[str, str], ...]
    removed_roots: tuple[str, ...]


# --- the body -----------------------------------------------------------------------------------------


def decompress_limited(body: bytes) -> bytes:
    """A gzipped body unpacked. Raises TooLargeError above the size limits or for a bomb's ratio,
    InvalidValueError for what is no gzip."""
    if len(body) > SYNC_MAX_COMPRESSED_BYTES:
        raise TooLargeError(f"The body is larger than {SYNC_MAX_COMPRESSED_BYTES >> 20} MiB.")
    unpacker = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(body), _STEP_IN):
            waiting = body[start : start + _STEP_IN]
            while waiting:
                parts.append(unpacker.decompress(waiting, _STEP_OUT))
                waiting = unpacker.unconsumed_tail
                size += len(parts[-1])
                _check_unpacked(size, len(body))
    except zlib.error as error:
        raise InvalidValueError(
            "The body is not valid gzip.", remedy="Send it with Content-Encoding: gzip."
        ) from error
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidValueError("The gzip body is truncated or has trailing data.")
    return b"".join(parts)


def _check_unpacked(size: int, packed: int) -> None:
    if size > SYNC_MAX_BYTES:
        raise TooLargeError(f"The body expands to more than {SYNC_MAX_BYTES >> 20} MiB.")
    if size > _RATIO_COUNTS_ABOVE and size > RATIO_MAX * packed:
        raise TooLargeError("The body expands to far more than an inventory does.")


def decode_sync(body: bytes) -> DecodedSync:
    """The JSON ``body`` (already unpacked) with every entry judged.

    Raises InvalidValueError (malformed, a key twice, an entry without a readable key), TooLargeError,
    ProtocolMismatchError. An entry that is merely wrong is kept with the reason.
    """
    request = _decode_request(body)
    _check_request(request)
    roots = tuple(judge_root(_decode_entry(raw, "roots", i)) for i, raw in enumerate(request.roots))
    files = tuple(judge_file(_decode_entry(raw, "upserts", i)) for i, raw in enumerate(request.upserts))
    removed_files = tuple((r.root, path_key(r.path)) for r in request.removals if r.path is not None)
    removed_roots = tuple(r.root for r in request.removals if r.path is None)
    _check_unique([root.root for root in roots], removed_roots)
    _check_unique([file.key for file in files], removed_files)
    return DecodedSync(
        request.index_id,
        request.mode,
        request.base_sequence,
        request.sequence,
        request.digest,
        roots,
        files,
        removed_files,
        removed_roots,
    )


def _decode_request(body: bytes) -> SyncRequest:
    if len(body) > SYNC_MAX_BYTES:
        raise TooLargeError(f"The body is larger than {SYNC_MAX_BYTES >> 20} MiB.")
    try:
        return msgspec.json.decode(body, type=SyncRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValueError(f"The body is not a valid inventory: {error}.") from error


def _check_request(request: SyncRequest) -> None:
    if not PROTOCOL_MIN <= request.protocol <= PROTOCOL_MAX:
        raise ProtocolMismatchError(
            f"This hub speaks protocols {PROTOCOL_MIN} to {PROTOCOL_MAX}, not {request.protocol}."
        )
    if not _INDEX_ID.fullmatch(request.index_id):
        raise InvalidValueError("`index_id` must be 1 to 64 letters, digits, '-' or '_'.")
    if not 0 <= request.base_sequence <= request.sequence <= BIGINT_MAX:
        raise InvalidValueError(
            "`base_sequence` and `sequence` must be integers from 0, the first not above the second."
        )
    if not _SHA256.fullmatch(request.digest):
        raise InvalidValueError("`digest` must be 64 lower-case hex digits.")
    if request.mode == "full" and (request.base_sequence or request.removals):
        raise InvalidValueError("A full inventory has no base and no removals.")
    if not all(_ROOT_ID.fullmatch(removal.root) for removal in request.removals):
        raise InvalidValueError("A removal has no readable key (`root`, `path`).")
    if len(request.upserts) + len(request.removals) > SYNC_MAX_ROWS or len(request.roots) > _ROOTS_MAX:
        raise TooLargeError(f"One request holds at most {SYNC_MAX_ROWS:,} rows and {_ROOTS_MAX:,} roots.")


def _decode_entry(raw: msgspec.Raw, where: str, number: int) -> dict[str, Any]:
    """The entry as plain values. It must at least be an object with a readable key."""
    place = f"{where}[{number}]"
    data = bytes(raw)
    if data.count(b"{") + data.count(b"[") > JSON_MAX_DEPTH and _depth(data) > JSON_MAX_DEPTH:
        raise InvalidValueError(f"{place} is nested deeper than {JSON_MAX_DEPTH} levels.")
    try:
        entry = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidValueError(f"{place} cannot be read: {error}.") from error
    root = entry.get("root") if isinstance(entry, dict) else None
    path = entry.get("path") if isinstance(entry, dict) and where == "upserts" else "-"
    if not isinstance(root, str) or not _ROOT_ID.fullmatch(root) or not isinstance(path, str) or not path:
        raise InvalidValueError(f"{place} has no readable key (`root`, `path`).")
    return dict(entry)


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for byte in _STRING.sub(b"", data):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _check_unique(keys: list[Any], removed: Iterable[Any]) -> None:
    seen = set(keys)
    removed = list(removed)
    if len(seen) != len(keys) or len(set(removed)) != len(removed) or not seen.isdisjoint(removed):
        raise InvalidValueError("The request names one root or file twice.")


# --- entries ------------------------------------------------------------------------------------------


def path_key(path: str) -> str:
    """Return the key of a path: itself, or its start and SHA256 where no index can hold it."""
    if len(path) <= _PATH_KEY_MAX_BYTES // 4 and "\x00" not in path:
        return path
    data = path.encode()
    if len(data) <= _PATH_KEY_MAX_BYTES and b"\x00" not in data:
        return path
    return f"{path[:100]}…{hashlib.sha256(data).hexdigest()}".replace("\x00", "")


def judge_root(entry: dict[str, Any]) -> ServerRootRow:
    """A root as a row. Unknown fields are ignored, as a newer agent may send them."""
    kind, health, label = entry.get("kind"), entry.get("health"), entry.get("label")
    rejected = None
    if not _is_one_of(kind, _KINDS):
        rejected = "unknown kind of folder"
    elif not _is_one_of(health, _HEALTHS):
        rejected = "unknown health"
    elif label is not None and not isinstance(label, str):
        rejected = "label must be a string"
    return ServerRootRow(
        entry["root"],
        str(kind) if rejected is None else "",
        str(health) if rejected is None else "",
        _CONTROLS.sub("", label)[:_LABEL_MAX] if isinstance(label, str) else None,
        rejected,
        row_digest(entry),
    )


def judge_file(entry: dict[str, Any]) -> ServerFileRow:
    """A file as a row. Unknown fields are ignored, as a newer agent may send them."""
    digest = row_digest(entry)
    path = entry["path"]
    rejected = file_problem(entry)
    if rejected is not None:
        return _rejected_file(entry["root"], path, rejected, digest)
    kind, state, claims = entry["kind"], entry["state"], entry.get("claims")
    digests: dict[str, Any] = entry.get("digests") or {}
    sha256 = digests.get("sha256")
    name = webui_name(kind, path)
    return ServerFileRow(
        entry["root"],
        path,
        kind,
        name,
        search_key(name),
        entry["size"],
        state,
        sha256,
        digests.get("blake3"),
        digests.get("autov1"),
        digests.get("autov3"),
        msgspec.json.encode(claims).decode() if claims else None,
        None if state == "ready" else strongest_claim(sha256, claims or []),
        None,
        digest,
        int(entry.get("link") is True),
    )


def _rejected_file(root: str, path: str, reason: str, digest: bytes) -> ServerFileRow:
    key = path_key(path)
    name = _CONTROLS.sub("", key.rsplit("/", 1)[-1])
    return ServerFileRow(
        root, key, "", name, search_key(name), 0, "", None, None, None, None, None, None, reason, digest
    )


def file_problem(entry: dict[str, Any]) -> str | None:
    """Return why a file's entry cannot be accepted, or None."""
    size, state = entry.get("size"), entry.get("state")
    if not _is_one_of(entry.get("kind"), _KINDS):
        return "unknown kind of model"
    if not _is_one_of(state, _STATES):
        return "unknown state"
    if type(size) is not int or not 0 <= size <= BIGINT_MAX:
        return "size must be an integer from 0 to 2^63-1"
    if path_key(entry["path"]) != entry["path"]:
        return f"path is longer than {_PATH_KEY_MAX_BYTES:,} bytes or has a NUL"
    problem = wire_path_problem(entry["path"]) or _digests_problem(entry.get("digests"), size)
    if problem is None and state == "ready" and not (entry.get("digests") or {}).get("sha256"):
        problem = "a ready file must have its SHA256"
    return problem or _claims_problem(entry.get("claims"))


def _is_one_of(value: object, allowed: frozenset[str]) -> bool:
    return isinstance(value, str) and value in allowed


def _digests_problem(digests: object, size: int) -> str | None:
    if digests is None:
        return None
    if not isinstance(digests, dict):
        return "digests must be an object"
    for name in _WIRE_DIGESTS:
        value = digests.get(name)
        if value is not None and not (isinstance(value, str) and _DIGEST_FORMS[name].fullmatch(value)):
            return f"{name} is malformed"
    sha256 = digests.get("sha256")
    if sha256 is not None and (sha256 == SHA256_OF_NOTHING) != (size == 0):
        return "an empty file, and no other, has the SHA256 of no bytes"
    return None


def _claims_problem(claims: object) -> str | None:
    if claims is None:
        return None
    if not isinstance(claims, list) or len(claims) > CLAIMS_MAX:
        return f"claims must be a list of at most {CLAIMS_MAX}"
    for claim in claims:
        if not isinstance(claim, dict) or not _is_one_of(claim.get("source"), _CLAIM_SOURCES):
            return "a claim has no known source"
        form = _DIGEST_FORMS.get(str(claim.get("digest")))
        value = claim.get("value")
        if form is None or not isinstance(value, str) or not form.fullmatch(value):
            return "a claimed digest is malformed"
        if value == SHA256_OF_NOTHING:
            return "a claim is the SHA256 of no bytes"
    return None


def strongest_claim(sha256: str | None, claims: list[dict[str, str]]) -> str | None:
    """``<digest>:<value>`` of the longest digest said of a file that is not ready; a SHA256 computed before
    it got into its state comes first. None when two claims of that digest differ."""
    if sha256:
        return f"sha256:{sha256}"
    for digest in _DIGEST_FORMS:
        values = {claim["value"] for claim in claims if claim["digest"] == digest}
        if values:
            return f"{digest}:{values.pop()}" if len(values) == 1 else None
    return None
