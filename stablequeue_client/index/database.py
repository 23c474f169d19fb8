"""A local SQLite file that is believed only as far as its checksums reach.

Every row has a checksum (``checked_tables``). Table ``facts`` (name, value) is in every file and never
changes its shape: it repeats the schema's version, so that a flipped bit in the header is not taken for data
of a newer StableQueue.

WAL where the file system can do it; else one process at a time with a rollback journal. Every write is
``BEGIN IMMEDIATE`` (a read that becomes a write fails with "locked" under load, whatever the timeout).
Damage raises DamagedDatabaseError; ``open_database`` moves such a file aside and starts an empty one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from filelock import FileLock, Timeout

from stablequeue_client.index.checked_tables import FACTS, DamagedDatabaseError, Table, get_fact, set_facts
from stablequeue_client.shared.errors import DataFolderError, NewerDataError

__all__ = ["Connect", "DamagedDatabaseError", "Database", "Schema", "open_database"]

BUSY_TIMEOUT_S = 20.0
DAMAGED_COPIES_KEPT = 3
_WAL_LIMIT_BYTES = 8 * 1024 * 1024

Connect = Callable[..., sqlite3.Connection]


@dataclass(frozen=True)
class Schema:
    """What a file must look like. ``migrations[n]`` turns version n into n + 1 inside the transaction.

    ``first_rows`` fills a new file; ``check`` returns what is wrong beyond single rows, or None.
    """

    application_id: int
    version: int
    tables: tuple[Table, ...]
    first_rows: Callable[[sqlite3.Connection], None] = lambda _: None
    check: Callable[[sqlite3.Connection], str | None] = lambda _: None
    migrations: Mapping[int, Callable[[sqlite3.Connection], None]] = field(default_factory=dict)

    @property
    def all_tables(self) -> tuple[Table, ...]:
        return (FACTS, *self.tables)


class Database:
    """One connection to one file, for all threads of this process; never used across a fork."""

    def __init__(
        self, path: str, *, connect: Connect = sqlite3.connect, busy_s: float = BUSY_TIMEOUT_S
    ) -> None:
        self.path = path
        self._connect = connect
        self._busy_s = busy_s
        self._lock = threading.RLock()
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        with errors_named(self.path):
            self._connection = self._connect(
                self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
            )
            self._file = _identity(self.path)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")

    def use_wal(self) -> None:
        """Asks for WAL; where the file system has none, for a rollback journal and the whole file."""
        with errors_named(self.path):
            mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            self.use_rollback_journal()

    def use_rollback_journal(self) -> None:
        with errors_named(self.path):
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = DELETE")

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Keep it short: other processes wait."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        self._leave_parents_connection()
        with self._lock, errors_named(self.path):
            connection = self._usable()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk or an I/O error may have rolled back by itself already.
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    def _leave_parents_connection(self) -> None:
        """After a fork: a connection and a lock of our own; closing the inherited one would disturb it."""
        if os.getpid() != self._pid:
            self._inherited = self._connection
            self._lock = threading.RLock()
            self._open()

    def _usable(self) -> sqlite3.Connection:
        if _identity(self.path) != self._file:
            raise DamagedDatabaseError(f"{self.path} was replaced or deleted while it was in use.")
        return self._connection

    def data_version(self) -> int:
        """Changes when another connection has written."""
        self._leave_parents_connection()
        with self._lock, errors_named(self.path):
            return int(self._usable().execute("PRAGMA data_version").fetchone()[0])

    def backup(self, target: str) -> None:
        """A copy of the committed state at ``target``, readable by its owner only."""
        _create_private(target)
        with self._lock, errors_named(target):
            copy = sqlite3.connect(target)
            try:
                self._connection.backup(copy)
            finally:
                copy.close()

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()


def open_database(
    path: str,
    schema: Schema,
    *,
    repair: bool = True,
    connect: Connect = sqlite3.connect,
    busy_s: float = BUSY_TIMEOUT_S,
) -> tuple[Database, str | None]:
    """The checked database, and in words what was moved aside (None: all was well, or it is new).

    ``repair`` False is for guests: only the header is checked (rows still are when they are read), and
    damage is for the owner to repair. Raises NewerDataError, DataFolderError, and then DamagedDatabaseError.
    """
    path = os.path.abspath(path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with FileLock(path + ".lock", timeout=busy_s, mode=0o600):
            return _open_or_rebuild(path, schema, repair, connect, busy_s)
    except Timeout as error:
        raise DataFolderError(
            f"{path} is being opened by another process that does not finish.", remedy="Stop that process."
        ) from error
    except OSError as error:
        raise DataFolderError(f"{path} cannot be used: {error.strerror or error}.") from error


def _open_or_rebuild(
    path: str, schema: Schema, repair: bool, connect: Connect, busy_s: float
) -> tuple[Database, str | None]:
    if not os.path.exists(path):
        return _create(path, schema, connect, busy_s), None
    try:
        return _open_existing(path, schema, repair, connect, busy_s), None
    except DamagedDatabaseError as error:
        if not repair:
            raise
        aside = _move_aside(path)
        cause = error.message.rstrip(".")
        notice = f"{path} was damaged ({cause}). It was moved to {aside} and is being rebuilt."
    return _create(path, schema, connect, busy_s), notice


def _create(path: str, schema: Schema, connect: Connect, busy_s: float) -> Database:
    """Writing the schema is also the probe: some network file systems promise WAL and fail at first use."""
    for prepare in (Database.use_wal, Database.use_rollback_journal):
        _create_private(path)
        database = Database(path, connect=connect, busy_s=busy_s)
        try:
            prepare(database)
            _write_schema(database, schema)
        except DataFolderError as error:
            database.close()
            last = error
            _remove_files(path)
        else:
            return database
    raise last


def _write_schema(database: Database, schema: Schema) -> None:
    with database.write() as connection:
        for table in schema.all_tables:
            connection.execute(table.create)
        connection.execute(f"PRAGMA application_id = {schema.application_id}")
        _set_version(connection, schema.version)
        schema.first_rows(connection)


def _set_version(connection: sqlite3.Connection, version: int) -> None:
    connection.execute(f"PRAGMA user_version = {version}")
    set_facts(connection, {"schema_version": str(version)})


def _open_existing(path: str, schema: Schema, check: bool, connect: Connect, busy_s: float) -> Database:
    if os.name == "posix":
        os.chmod(path, 0o600)
    if os.path.getsize(path) == 0:
        raise DamagedDatabaseError("the file is empty")
    if not os.path.exists(path + "-wal") and os.path.exists(path + "-shm"):
        # SQLite deletes -shm before -wal, and nobody else opens the file while we hold the lock.
        raise DamagedDatabaseError("its write-ahead log is missing")
    database = Database(path, connect=connect, busy_s=busy_s)
    try:
        database.use_wal()
        _migrate(database, schema)
        if check:
            _verify(database, schema)
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: Database, schema: Schema) -> None:
    with database.read() as connection:
        version = _version(connection, schema)
    if version > schema.version:
        raise NewerDataError(f"{database.path} was written by a newer version of StableQueue.")
    if version == schema.version:
        return
    database.backup(f"{database.path}.before-{schema.version}")
    with database.write() as connection:
        for step in range(version, schema.version):
            schema.migrations[step](connection)
        _set_version(connection, schema.version)


def _version(connection: sqlite3.Connection, schema: Schema) -> int:
    if connection.execute("PRAGMA application_id").fetchone()[0] != schema.application_id:
        raise DamagedDatabaseError("it is not a file of this kind")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if get_fact(connection, "schema_version") != str(version):
        raise DamagedDatabaseError("its header does not match its content")
    return version


def _verify(database: Database, schema: Schema) -> None:
    """Raises DamagedDatabaseError unless structure, every row and the whole agree, and it can be written."""
    with database.write():
        pass
    with database.read() as connection:
        found = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
        if found != {table.name: table.create for table in schema.all_tables}:
            raise DamagedDatabaseError("its tables are not those of this version")
        answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            raise DamagedDatabaseError(f"quick_check says: {answer}")
        for table in schema.all_tables:
            for _ in table.iterate(connection):
                pass
        problem = schema.check(connection)
        if problem:
            raise DamagedDatabaseError(problem)


@contextlib.contextmanager
def errors_named(path: str) -> Iterator[None]:
    """SQLite's errors as DataFolderError with a remedy, or DamagedDatabaseError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _named(error, path) from error


def _named(error: sqlite3.Error, path: str) -> DataFolderError:
    # Python 3.10 has no sqlite_errorcode yet; SQLite's texts are stable.
    text = str(error).lower()
    if isinstance(error, sqlite3.ProgrammingError):
        return DataFolderError(f"{path} is not open any more: {error}", remedy="Start again.")
    if "full" in text:
        return DataFolderError(
            f"The disk that holds {path} is full: the last change was not stored, all before it is safe.",
            remedy="Free disk space; work resumes by itself.",
        )
    if "locked" in text or "busy" in text:
        return DataFolderError(
            f"{path} is held by another process for too long.",
            remedy="Stop the other StableQueue process, or give another --data folder.",
        )
    readonly = "readonly" in text and not os.access(path, os.W_OK)
    if readonly or "i/o error" in text or "unable to open" in text or "locking protocol" in text:
        return DataFolderError(
            f"{path} cannot be used: {error}.",
            remedy="Check the disk and its permissions, or give another --data folder on a local disk.",
        )
    return DamagedDatabaseError(f"{path}: {error}")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _create_private(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _remove_files(path: str) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path + suffix)


def _move_aside(path: str) -> str:
    """Keeps the damaged file (and its log) as ``.damaged-<n>``, the newest few of them."""
    folder, name = os.path.split(path)
    pattern = re.compile(re.escape(name) + r"\.damaged-(\d+)\Z")
    numbers = [int(found[1]) for entry in os.listdir(folder) if (found := pattern.match(entry))]
    number = max(numbers, default=0) + 1
    aside = f"{path}.damaged-{number}"
    for suffix in ("-wal", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + suffix, aside + suffix)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path + "-shm")
    os.replace(path, aside)
    for old in numbers:
        if old <= number - DAMAGED_COPIES_KEPT:
            _remove_files(f"{path}.damaged-{old}")
    return aside
