"""Digests from the hash cache of a WebUI, as claims. Nothing is unpickled, nothing is written there.

A1111 and its family keep ``<cache>/hashes/cache.db`` and ``<cache>/hashes-addnet/cache.db`` (diskcache 5.6:
SQLite, table ``Cache``, values pickled ``{"mtime": ..., "sha256": ...}``); older ones ``cache.json`` beside
the folder, ``{section: {key: value}}``. Keys (``modules/hashes.py`` and its callers): ``checkpoint/<path
below its folder>``, ``lora/<file name without extension>``, ``textual_inversion/<the same>``.

What is believed: an entry with exactly the file's mtime. An older entry is stale; a newer one belongs to a
file that was replaced by an older one, which Forge does not notice. The value of a LoRA is the SHA256 of the
whole file on Forge and of the bytes after the header elsewhere (both under ``hashes-addnet``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickletools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from stablequeue_client.files.claimed_hashes import ClaimReport, cache_claim, refused_entry
from stablequeue_client.files.file_io import WINDOWS
from stablequeue_client.files.file_reader import FileJob
from stablequeue_client.shared.model_files.model_file import DigestKind, Kind, StatKey, webui_name
from stablequeue_client.shared.wire.inventory import ServerCapabilities, native_path

logger = logging.getLogger(__name__)

ENTRY_MAX_BYTES = 1_024
ENTRIES_MAX = 200_000
JSON_MAX_BYTES = 64 * 1024 * 1024
QUERY_MAX_S = 5.0
RECHECK_S = 15.0
_MTIME_TOLERANCE_S = 1e-6  # a time of today as a float is exact to a quarter of a microsecond
_PICKLED = 4  # diskcache's MODE_PICKLE

Section = Literal["hashes", "hashes-addnet"]
SECTIONS: tuple[Section, ...] = ("hashes", "hashes-addnet")
_PREFIXES: dict[Kind, str] = {"checkpoint": "checkpoint/", "lora": "lora/", "embedding": "textual_inversion/"}


class CacheEntry(NamedTuple):
    """What the WebUI noted of a file: its mtime (Unix seconds, as ``os.path.getmtime``) and a SHA256."""

    mtime: float
    sha256: str


class NotFlatError(ValueError):
    """A pickled value is not a flat dictionary of texts and numbers; it is left alone."""


class WebuiCache:
    """The cache in ``folder``, looked at again when it changed. Shared by threads; nothing raises.

    ``capabilities_file`` names the WebUI's family, which tells what the value of a LoRA means.
    """

    def __init__(
        self,
        folder: Path,
        capabilities_file: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._capabilities_file = capabilities_file
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._seen: object = None
        self._entries: dict[Section, dict[str, CacheEntry]] = {}
        self._family = ""

    def claims(self, job: FileJob, stat: StatKey, metadata: Mapping[str, str]) -> ClaimReport:
        """Return what the cache says of a file; a ``file_reader.FurtherClaims``."""
        section: Section = (
            "hashes-addnet" if job.kind == "lora" and job.native.endswith(".safetensors") else "hashes"
        )
        entry = self._entry(section, job)
        if entry is None:
            return ClaimReport((), ())
        newer = entry.mtime - stat.mtime_ns / 1e9
        if newer < -_MTIME_TOLERANCE_S:
            return ClaimReport((), ())
        if newer > _MTIME_TOLERANCE_S:
            return refused_entry("the WebUI's cache describes a newer file that was here before")
        digest = self._digest_kind(section, entry, metadata)
        return ClaimReport((), ()) if digest is None else cache_claim(job.native, digest, entry.sha256)

    def _digest_kind(
        self, section: Section, entry: CacheEntry, metadata: Mapping[str, str]
    ) -> DigestKind | None:
        """Of which bytes the value is the SHA256; None when that cannot be told."""
        if section == "hashes" or self._family == "forge":
            return "sha256"
        if self._family or metadata.get("sshs_model_hash", "").lower() == entry.sha256:
            return "autov3"
        return None

    def _entry(self, section: Section, job: FileJob) -> CacheEntry | None:
        with self._lock:
            self._look_again()
            entries = self._entries.get(section, {})
            return next((entries[key] for key in _keys(job) if key in entries), None)

    def _look_again(self) -> None:
        now = self._monotonic()
        if now - self._looked < RECHECK_S:
            return
        self._looked = now
        seen = [_stamp(path) for path in self._files()]
        if seen == self._seen:
            return
        self._seen = seen
        self._entries = read_cache(self._folder)
        self._family = _family(self._capabilities_file)

    def _files(self) -> Iterator[Path]:
        for section in SECTIONS:
            for suffix in ("", "-wal"):
                yield self._folder / section / f"cache.db{suffix}"
        yield from _json_places(self._folder)
        if self._capabilities_file is not None:
            yield self._capabilities_file


def _keys(job: FileJob) -> Iterator[str]:
    """The keys under which the WebUI may have noted the file; the surest first."""
    prefix = _PREFIXES.get(job.kind)
    if prefix is None:
        return
    path = native_path(job.path, windows=WINDOWS).replace(os.sep, "/") or os.path.basename(job.native)
    name = webui_name(job.kind, path)
    yield prefix + name
    if job.kind == "checkpoint" and "/" in name:
        yield prefix + name.replace("/", "\\")  # as Windows joins them
        yield prefix + name.rsplit("/", 1)[-1]  # a folder that is none of the WebUI's own


def _family(capabilities_file: Path | None) -> str:
    try:
        if capabilities_file is not None:
            return msgspec.json.decode(capabilities_file.read_bytes(), type=ServerCapabilities).webui
    except (OSError, msgspec.DecodeError):
        pass
    return ""


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


# --- reading it -------------------------------------------------------------------------------------------


def read_cache(folder: Path) -> dict[Section, dict[str, CacheEntry]]:
    """All entries of the cache, those of the databases before those of ``cache.json``."""
    entries: dict[Section, dict[str, CacheEntry]] = {section: {} for section in SECTIONS}
    for place in _json_places(folder):
        for section, found in _read_json(place).items():
            entries[section].update(found)
    for section in SECTIONS:
        entries[section].update(_read_database(folder / section / "cache.db"))
    return entries


def _json_places(folder: Path) -> tuple[Path, Path]:
    return folder.parent / "cache.json", folder / "cache.json"


class _JsonEntry(msgspec.Struct):
    mtime: float | None = None
    sha256: str | None = None


class _JsonCache(msgspec.Struct):
    hashes: dict[str, _JsonEntry] = {}
    addnet: dict[str, _JsonEntry] = msgspec.field(default={}, name="hashes-addnet")


def _read_json(path: Path) -> dict[Section, dict[str, CacheEntry]]:
    try:
        if path.stat().st_size > JSON_MAX_BYTES:
            return {}
        cache = msgspec.json.decode(path.read_bytes(), type=_JsonCache)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _tell(path, error)
        return {}
    return {"hashes": _useful(cache.hashes), "hashes-addnet": _useful(cache.addnet)}


def _useful(found: Mapping[str, _JsonEntry]) -> dict[str, CacheEntry]:
    return {
        key: CacheEntry(item.mtime, item.sha256) for key, item in found.items() if item.mtime and item.sha256
    }


def _read_database(path: Path) -> dict[str, CacheEntry]:
    """The entries of one diskcache. Nothing is changed in its folder, not even a log beside it is made."""
    if not path.is_file():
        return {}
    # With a log beside it the WebUI has it open (or died): its shared memory is there too. Without one the
    # file is complete by itself, and SQLite must not make a log for it.
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=1.0)
        with contextlib.closing(connection):
            return dict(_entries(connection))
    except (sqlite3.Error, ValueError) as error:
        _tell(path, error)
        return {}


def _entries(connection: sqlite3.Connection) -> Iterator[tuple[str, CacheEntry]]:
    end = time.monotonic() + QUERY_MAX_S
    connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.execute("PRAGMA trusted_schema = OFF")
    rows = connection.execute(
        "SELECT key, value FROM Cache WHERE raw = 1 AND mode = ? AND typeof(key) = 'text' "
        "AND typeof(value) = 'blob' AND length(value) <= ? LIMIT ?",
        (_PICKLED, ENTRY_MAX_BYTES, ENTRIES_MAX),
    )
    for key, value in rows:
        try:
            found = read_flat_pickle(value)
        except NotFlatError:
            continue
        mtime, sha256 = found.get("mtime"), found.get("sha256")
        if isinstance(mtime, (int, float)) and isinstance(sha256, str):  # None: the host hashes nothing
            yield key, CacheEntry(float(mtime), sha256)


def _tell(path: Path, error: Exception) -> None:
    extra = {"action": "webui_cache_unreadable"}
    logger.info("The WebUI's cache %s is not used: %s", path.name, error, extra=extra)


# --- a pickled flat dictionary ----------------------------------------------------------------------------

_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE"})
_NUMBERS = frozenset({"BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1"})
_MEMO = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT"})

Value = str | float | int | None


def read_flat_pickle(data: bytes) -> dict[str, Value]:
    """A dictionary of texts to texts, numbers or None, read from its pickle without running it.

    Exactly the instructions that ``pickle`` (protocol 2 to 5) writes for such a value are understood, in
    exactly their order; no other is even looked at. Raises NotFlatError.
    """
    try:
        steps = [(step.name, value) for step, value, _ in pickletools.genops(data)]
    except (ValueError, KeyError, IndexError, UnicodeError) as error:
        raise NotFlatError(str(error)) from None
    words = [step for step in steps if step[0] not in _MEMO and step[0] != "FRAME"]
    if [word for word, _ in words[:2]] != ["PROTO", "EMPTY_DICT"] or words[-1][0] != "STOP":
        raise NotFlatError("it does not start as a dictionary")
    body = words[2:-1]
    if not body:
        return {}
    if body[0][0] == "MARK" and body[-1][0] == "SETITEMS":
        return _pairs(body[1:-1])
    if body[-1][0] == "SETITEM" and len(body) == 3:
        return _pairs(body[:-1])
    raise NotFlatError("its items are not set at once")


def _pairs(items: list[tuple[str, object]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if len(items) % 2:
        raise NotFlatError("a key lacks its value")
    for (key_word, key), (word, value) in zip(items[::2], items[1::2], strict=True):
        if key_word not in _TEXTS or not isinstance(key, str):
            raise NotFlatError(f"{key_word} is not a key")
        if word == "NONE":
            found[key] = None
        elif word in _TEXTS | _NUMBERS and isinstance(value, (str, float, int)):
            found[key] = value
        else:
            raise NotFlatError(f"{word} is not a value")
    return found
