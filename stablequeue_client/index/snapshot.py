"""What the agent knows of this WebUI's files, as a snapshot in the WebUI's own process.

The WebUI never scans: it reads the index that the agent writes. A refresh looks at the sum of all rows'
checksums first; when that moved, it compares the checksums in pieces of ``CHUNK`` rows and reads only those
that differ. Between two pieces it gives up the GIL, which a generation running in this process needs.

Readers get an immutable ``Snapshot``; whoever refreshes replaces it as a whole.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from stablequeue_client.index.agent_report import AgentReport
from stablequeue_client.index.database import Database, open_database
from stablequeue_client.index.index import INDEX_SCHEMA, Index
from stablequeue_client.index.rows import FILES, IndexRow, Key, RootRow
from stablequeue_client.shared.errors import DataFolderError, NotFoundError, StableQueueError
from stablequeue_client.shared.model_files.model_file import (
    Kind,
    natural_name,
    search_key,
    stem_key,
    webui_name,
)
from stablequeue_client.shared.views.values import Problem
from stablequeue_client.shared.wire.inventory import Activity
from stablequeue_client.shared.wire.orders import ORDER_TTL_S

__all__ = ["IndexReader", "LocalModel", "Snapshot"]

CHUNK = 500
"""Rows between two pauses."""
COMPARE_PAUSE_S = 0.002
READ_PAUSE_S = 0.005
"""After a piece of checksums was compared, and after one of rows was read."""
REOPEN_S = 1.0
"""The agent writes about once a second, so nobody needs to look more often."""
BUSY_S = 2.0
FULL_DISK_BYTES = 1 << 20

Name = tuple[Kind, str]
"""Kind and stem key."""
_Sum = tuple[int, int]
_Item = TypeVar("_Item")
Paced = Callable[[Iterable[Any]], Iterator[Any]]
"""Yields the same items, with a pause after each piece."""


@dataclass(frozen=True)
class LocalModel:
    """One content that lies here, in one or more files. ``name``: as a WebUI shows one of them;
    ``search``: what a search looks through."""

    sha256: str
    name: str
    kind: Kind
    size: int
    base_model: str | None
    rows: tuple[IndexRow, ...]
    key: str
    search: str
    first_seen_ms: int


@dataclass(frozen=True)
class Snapshot:
    """All files at one moment. ``index_id`` None: the index could not be read yet."""

    version: int = 0
    index_id: str | None = None
    files: Mapping[Key, IndexRow] = field(default_factory=dict)
    roots: tuple[RootRow, ...] = ()
    models: Mapping[str, LocalModel] = field(default_factory=dict)
    names: Mapping[Name, tuple[IndexRow, ...]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[IndexRow, ...]:
        """All files, in no particular order."""
        return tuple(self.files.values())

    @cached_property
    def by_name(self) -> tuple[LocalModel, ...]:
        """The models sorted by name."""
        return tuple(sorted(self.models.values(), key=lambda model: (model.key, model.sha256)))

    @cached_property
    def others(self) -> tuple[IndexRow, ...]:
        """Files that are no models yet (to be read, broken, set aside), by name."""
        found = [row for row in self.files.values() if not is_model(row)]
        return tuple(sorted(found, key=lambda row: (search_key(row.path.rsplit("/", 1)[-1]), row.key)))


def is_model(row: IndexRow) -> bool:
    """Read in full, so that it is certain which model it is."""
    return row.state == "ready" and row.sha256 is not None


class IndexReader:
    """The index of one WebUI for its own process. Any thread may call anything; only ``order`` raises."""

    def __init__(
        self,
        server_dir: Path,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = server_dir / "index.sqlite"
        self._pause = pause
        self._clock = clock
        self._refreshing = threading.Lock()
        self._database: Database | None = None
        self._checksums: dict[Key, int] = {}
        self._sum: _Sum | None = None
        self._data_version: int | None = None
        self._looked: float | None = None
        self._problem: Problem | None = None
        self._progress: Activity | None = None
        self._report: AgentReport | None = None
        self._snapshot = Snapshot()

    # --- what is known ----------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The last refresh's, whole; take it once and use it for one answer."""
        return self._snapshot

    @property
    def version(self) -> int:
        """Grows when files or folders changed; 0 before the first reading."""
        return self._snapshot.version

    @property
    def rows(self) -> tuple[IndexRow, ...]:
        return self._snapshot.rows

    @property
    def roots(self) -> tuple[RootRow, ...]:
        return self._snapshot.roots

    @property
    def progress(self) -> Activity | None:
        """What the agent did when it last said so; it says so about once a second while it runs."""
        return self._progress

    @property
    def report(self) -> AgentReport | None:
        """What the agent says of itself: why it waits, what it skipped, what it does not believe."""
        return self._report

    @property
    def problem(self) -> Problem | None:
        """Why the index cannot be read or written, with the remedy. What was read before still stands."""
        return self._problem

    def find(self, kind: Kind, name: str) -> tuple[IndexRow, ...]:
        """The files of a kind that ``name`` may mean: a stem, a file name, or a path with ``/``.

        Case does not count here; whoever needs it compares ``row.path``.
        """
        rows = self._snapshot.names.get((kind, stem_key(name)), ())
        if "/" not in name:
            return rows
        wanted = search_key(name.strip("/"))
        return tuple(row for row in rows if _ends_in(search_key(row.path), wanted))

    def by_sha256(self, sha256: str) -> tuple[IndexRow, ...]:
        """The files with this content."""
        model = self._snapshot.models.get(sha256)
        return model.rows if model else ()

    def names(self, kind: Kind) -> tuple[str, ...]:
        """The stems of all files of a kind, folded as ``find`` compares them."""
        return tuple(stem for of_kind, stem in self._snapshot.names if of_kind == kind)

    def metadata_of(self, sha256: str) -> dict[str, str]:
        """The allow-listed header fields of a content; empty when there are none or they cannot be read."""
        with contextlib.suppress(StableQueueError), self._index() as index:
            return index.metadata_of(sha256) or {}
        return {}

    # --- what the person asks for -----------------------------------------------------------------------

    def order(self, kind: str, **fields: Any) -> None:
        """Leave an order for the agent (``rescan``, ``sync``, ``hashing``, ...); it sees it within a second.

        Raises StableQueueError with a remedy: the agent never ran, or the index cannot be written.
        """
        if not self._path.exists():
            raise NotFoundError(
                "Reading of this WebUI's folders has not started yet.", remedy="Try again in a moment."
            )
        with self._index() as index:
            index.add_order(kind, fields, ORDER_TTL_S)

    @contextlib.contextmanager
    def _index(self) -> Iterator[Index]:
        """A connection of this thread's own: the refreshing one may be closed at any moment."""
        database, _ = open_database(str(self._path), INDEX_SCHEMA, repair=False, busy_s=BUSY_S)
        index = Index(database, None, time.time)
        try:
            yield index
        finally:
            index.close()

    # --- refreshing -------------------------------------------------------------------------------------

    def refresh(self, *, max_age_s: float = REOPEN_S) -> bool:
        """Take over what the agent wrote; whether files or folders changed.

        Does nothing within ``max_age_s`` of the last look. While another thread refreshes, what is known
        stands; only the very first reading is waited for.
        """
        if self._looked is not None and self._clock() - self._looked < max_age_s:
            return False
        if not self._refreshing.acquire(blocking=self._looked is None):
            return False
        try:
            return self._look()
        finally:
            self._looked = self._clock()
            self._refreshing.release()

    def close(self) -> None:
        """Leave the index; a later refresh opens it again."""
        with self._refreshing:
            self._close_index()

    def _look(self) -> bool:
        try:
            if self._database is None and not self._open():
                return False
            changed = self._load()
        except DataFolderError as error:
            # Also: the agent moved a damaged index aside and began another one. The next look opens that.
            self._close_index()
            self._problem = Problem(error.message, error.remedy)
            return False
        except OSError as error:
            self._close_index()
            self._problem = Problem(f"{self._path} cannot be read: {error.strerror}.")
            return False
        self._problem = self._full_disk()
        return changed

    def _open(self) -> bool:
        if not self._path.exists():
            return False
        self._database, _ = open_database(str(self._path), INDEX_SCHEMA, repair=False, busy_s=BUSY_S)
        return True

    def _close_index(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = self._data_version = self._sum = None

    def _full_disk(self) -> Problem | None:
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError:
            return None
        if free >= FULL_DISK_BYTES:
            return None
        return Problem(
            f"The disk that holds {self._path.parent} is full, so nothing new is stored.",
            "Free some space there; reading resumes by itself.",
        )

    def _load(self) -> bool:
        assert self._database is not None
        data_version = self._database.data_version()
        if data_version == self._data_version:
            return False
        index = Index(self._database, None, time.time)
        self._progress, self._report = index.read_progress(), index.agent_report()
        roots, index_id = tuple(index.roots()), index.index_id
        old = self._snapshot
        changes: dict[Key, IndexRow | None] = {}
        if self._sum_of_checksums() != self._sum or index_id != old.index_id:
            changes = self._compare()
            # Of what was taken over: the agent may have written since the sum was asked for.
            self._sum = len(self._checksums), sum(self._checksums.values())
        self._data_version = data_version
        if not changes and roots == old.roots and index_id == old.index_id:
            return False
        self._snapshot = _changed(old, index_id, roots, changes, self._paced)
        return True

    def _paced(self, items: Iterable[_Item]) -> Iterator[_Item]:
        for number, item in enumerate(items, 1):
            yield item
            if number % CHUNK == 0:
                self._pause(READ_PAUSE_S)

    def _sum_of_checksums(self) -> _Sum:
        assert self._database is not None
        with self._database.read() as connection:
            count, total = connection.execute("SELECT count(*), sum(checksum) FROM files").fetchone()
        return count, total or 0

    def _compare(self) -> dict[Key, IndexRow | None]:
        """Rows that are new or different, and None for those that are gone."""
        changes: dict[Key, IndexRow | None] = {}
        seen: dict[Key, int] = {}
        after: Key = ("", "")
        while True:
            piece, different = self._next_chunk(after)
            if not piece:
                break
            seen.update(piece)
            changes.update(different)
            self._pause(READ_PAUSE_S if different else COMPARE_PAUSE_S)
            after = next(reversed(piece))
        changes.update({key: None for key in self._checksums if key not in seen})
        self._checksums = seen
        return changes

    def _next_chunk(self, after: Key) -> tuple[dict[Key, int], dict[Key, IndexRow]]:
        """The next checksums, and the rows from the first to the last that differs, as of one moment: a row
        that comes between two readings would be known without its checksum, and never leave again."""
        assert self._database is not None
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT root_id, path, checksum FROM files WHERE (root_id, path) > (?, ?) "
                "ORDER BY root_id, path LIMIT ?",
                (*after, CHUNK),
            )
            piece = {(root_id, path): checksum for root_id, path, checksum in found}
            different = [key for key, checksum in piece.items() if self._checksums.get(key) != checksum]
            if not different:
                return piece, {}
            where = "(root_id, path) >= (?, ?) AND (root_id, path) <= (?, ?)"
            rows = [
                IndexRow(*row) for row in FILES.select(connection, where, (*different[0], *different[-1]))
            ]
        return piece, {row.key: row for row in rows}


# --- snapshots --------------------------------------------------------------------------------------------


def _changed(
    old: Snapshot,
    index_id: str,
    roots: tuple[RootRow, ...],
    changes: Mapping[Key, IndexRow | None],
    paced: Paced,
) -> Snapshot:
    """The next snapshot: copies of the tables with the changed entries made anew."""
    files = dict(old.files)
    contents: dict[str, set[Key]] = defaultdict(set)
    names: dict[Name, set[Key]] = defaultdict(set)
    for key, row in paced(changes.items()):
        before = files.pop(key, None)
        if row is not None:
            files[key] = row
        for version in (before, row):
            if version is not None:
                names[version.kind, stem_key(version.path)].add(key)
                if is_model(version):
                    contents[version.sha256 or ""].add(key)
    return Snapshot(
        version=old.version + 1,
        index_id=index_id,
        files=files,
        roots=roots,
        models=_models(old, files, paced(contents.items())),
        names=_names(old, files, paced(names.items())),
    )


def _models(
    old: Snapshot, files: Mapping[Key, IndexRow], touched: Iterable[tuple[str, set[Key]]]
) -> dict[str, LocalModel]:
    models = dict(old.models)
    for sha256, keys in touched:
        before = models.pop(sha256, None)
        rows = _present(files, keys.union(row.key for row in before.rows) if before else keys)
        mine = tuple(row for row in rows if is_model(row) and row.sha256 == sha256)
        if mine:
            models[sha256] = local_model(mine)
    return models


def _names(
    old: Snapshot, files: Mapping[Key, IndexRow], touched: Iterable[tuple[Name, set[Key]]]
) -> dict[Name, tuple[IndexRow, ...]]:
    names = dict(old.names)
    for name, keys in touched:
        rows = _present(files, keys.union(row.key for row in names.pop(name, ())))
        mine = tuple(row for row in rows if (row.kind, stem_key(row.path)) == name)
        if mine:
            names[name] = mine
    return names


def _present(files: Mapping[Key, IndexRow], keys: Iterable[Key]) -> list[IndexRow]:
    return [files[key] for key in sorted(keys) if key in files]


def local_model(rows: tuple[IndexRow, ...]) -> LocalModel:
    """The model of these files, which have one content; the first of them says of which kind it is."""
    first = rows[0]
    name = natural_name({(webui_name(row.kind, row.path), "") for row in rows if row.kind == first.kind})
    return LocalModel(
        sha256=first.sha256 or "",
        name=name,
        kind=first.kind,
        size=first.size,
        base_model=next((row.base_model for row in rows if row.base_model), None),
        rows=rows,
        key=search_key(name),
        search="\n".join(search_key(row.path) for row in rows),
        first_seen_ms=min(row.seen_ms for row in rows),
    )


def _ends_in(path: str, wanted: str) -> bool:
    """``wanted`` is the whole of ``path`` or its last parts, with or without the extension."""
    return any(text == wanted or text.endswith("/" + wanted) for text in (path, path.rpartition(".")[0]))
