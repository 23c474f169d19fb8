"""The store: SQLite or PostgreSQL behind one small class.

Reading and writing are apart: ``read()`` sees one snapshot and cannot write, ``write()`` is the one writer
of the store (``BEGIN IMMEDIATE`` on SQLite, an advisory lock on PostgreSQL, so that both know the same order
of things and a transaction that read first never fails when it writes).

SQLite: WAL, ``synchronous=FULL``: commits are few (a sync, a new key), and a key that was shown once must
survive a power cut; NORMAL could lose it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool

from stablequeue_client.shared.errors import (
    BusyError,
    DataFolderError,
    InvalidValueError,
    StableQueueError,
    StoreUnavailableError,
)

SQLITE_NAME = "hub.sqlite"
ADMIN_KEY_NAME = "admin.key"  # of this computer's owner; written once the database has its tables
WRITER_WAIT_S = 60.0
READERS = 8
_WAL_RETRY_S = 0.02
_EMPTY_WAIT_S = 1.0
_LOG_WAIT_S = 0.2  # nobody else writes meanwhile
_WRITER_LOCK_ID = 0x53515752  # advisory lock ids are numbers; these spell SQWR and SQHB
HUB_LOCK_ID = 0x53514842
T = TypeVar("T")


class Store:
    """One database. Make it with ``open_store``; usable from every thread, and in a forked child."""

    def __init__(self, url: URL, data_dir: Path) -> None:
        self.url = url
        self.data_dir = data_dir
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.locked_here = False  # whether this process holds the store lock (db/lock.py)
        self._connect()

    @property
    def sqlite_path(self) -> Path:
        """The file of an SQLite store."""
        return Path(self.url.database or "")

    @property
    def description(self) -> str:
        """The store's address, fit for messages: no password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for one snapshot of reads; writing through it fails."""
        with self._using(self._reader) as connection:
            yield connection

    @contextmanager
    def write(self, *, keeps_plans: bool = False) -> Iterator[Connection]:
        """The writing transaction: committed at the end of the block, rolled back by an exception.

        ``keeps_plans``: short and done often; PostgreSQL need not plan its statements each time.
        """
        with self._using(self._writer) as connection:
            if not self.is_sqlite:
                plans = ", set_config('plan_cache_mode', 'auto', true)" if keeps_plans else ""
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK_ID}){plans}")
            yield connection
            connection.commit()

    async def reading(self, use_case: Callable[[Connection], T]) -> T:
        """Run a reading use case in a worker thread."""
        return await run_in_threadpool(_within, self.read, use_case)

    async def writing(self, use_case: Callable[[Connection], T], *, keeps_plans: bool = False) -> T:
        """Run a writing use case in one transaction and a worker thread. ``keeps_plans``: see ``write``."""
        session = partial(self.write, keeps_plans=keeps_plans)
        return await run_in_threadpool(_within, session, use_case)

    def dedicated_connection(self) -> Connection:
        """A writer's connection outside the pool, for migrations and locks; the caller closes it."""
        connection = self._writer.connect()
        connection.detach()
        return connection

    def truncate_log(self) -> bool:
        """Take everything that was deleted off the disk: SQLite keeps it in its log until that is written
        over. False while somebody reads; then ask again. PostgreSQL clears up by itself."""
        if not self.is_sqlite:
            return True
        with closing(sqlite3.connect(self.sqlite_path, timeout=_LOG_WAIT_S)) as connection:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def close(self) -> None:
        """Give every connection back to the database."""
        if self._pid == os.getpid():
            self._reader.dispose()
            self._writer.dispose()

    @contextmanager
    def _using(self, engine: Engine) -> Iterator[Connection]:
        if self._pid != os.getpid():
            engine = self._after_fork(engine)
        try:
            with engine.connect() as connection:
                connection.begin()
                yield connection
        except (DBAPIError, self._driver.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(cause, self._driver.DataError):
                raise InvalidValueError(
                    "A value contains something that the database cannot store."
                ) from error
            if not self._is_of_the_database(cause):
                raise
            raise self._explained(str(cause)) from error
        except UnicodeEncodeError as error:
            raise InvalidValueError("A text contains an unpaired surrogate.") from error
        except OverflowError as error:  # SQLite's driver; PostgreSQL's says DataError
            raise InvalidValueError("A number is too large for the database to store.") from error
        except PoolTimeoutError as error:
            raise BusyError(f"The hub's database ({self.description}) is busy with other writes.") from error

    def _after_fork(self, engine: Engine) -> Engine:
        """New pools for the child. The parent's stay referenced: closing them here would harm the parent."""
        was_writer = engine is self._writer
        self._inherited = (self._reader, self._writer)
        self._connect()
        return self._writer if was_writer else self._reader

    def _connect(self) -> None:
        self._pid = os.getpid()
        make = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self._reader = make(self.url, writer=False)
        self._writer = make(self.url, writer=True)
        self._driver: Any = self._reader.dialect.loaded_dbapi

    def _is_of_the_database(self, cause: BaseException | None) -> bool:
        """Return whether the database failed, and not a statement of ours."""
        failures = (self._driver.OperationalError, self._driver.InterfaceError)
        return isinstance(cause, failures) or type(cause) is self._driver.DatabaseError

    def _explained(self, text: str) -> StableQueueError:
        if "locked" in text or "lock timeout" in text:
            return BusyError(f"The hub's database ({self.description}) is held by another process.")
        if "full" in text or "No space" in text:
            return DataFolderError(f"The disk of the hub's database ({self.description}) is full.")
        if "malformed" in text or "not a database" in text:
            return StoreUnavailableError(
                f"The hub's database ({self.description}) is damaged: {text}.",
                remedy="Stop the hub and put back a copy of the file, or move it away: servers send"
                " what they have again, create the keys and join the servers again.",
            )
        return StoreUnavailableError(
            f"The hub's database ({self.description}) cannot be used: {self._without_password(text)}"
        )

    def _without_password(self, text: str) -> str:
        password = str(self.url.password or "")
        return text.replace(password, "***") if password else text


def _within(
    session: Callable[[], AbstractContextManager[Connection]], use_case: Callable[[Connection], T]
) -> T:
    with session() as connection:
        return use_case(connection)


def open_store(url: str | None, data_dir: Path) -> Store:
    """The store at ``url`` (postgresql://... or sqlite:///...), by default hub.sqlite in ``data_dir``.

    Connects lazily. Raises InvalidValueError for another kind of URL, DataFolderError for the folder.
    """
    parsed = _parse_url(url) if url else URL.create("sqlite", database=str(data_dir / SQLITE_NAME))
    _make_private_folder(data_dir)
    if parsed.get_backend_name() == "sqlite":
        _refuse_emptied(Path(parsed.database or ""), data_dir)
        _make_private_file(Path(parsed.database or ""))
    return Store(parsed, data_dir)


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # their messages repeat the text, which may hold a password
        raise InvalidValueError(
            "The database URL is malformed.", remedy="Write it as postgresql://USER:PASSWORD@HOST/NAME."
        ) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite") and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite")
    raise InvalidValueError(
        f"The hub cannot use a database of the kind {url.drivername!r}.",
        remedy="Use postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE.",
    )


def _make_private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataFolderError(f"The data folder {folder} cannot be made: {error.strerror}.") from error


def _refuse_emptied(path: Path, data_dir: Path) -> None:
    """A file without a byte beside the owner's key held a database once: a new one in its place would hide
    the loss. Without the key it is a first start that ended early."""
    give_up = time.monotonic() + _EMPTY_WAIT_S  # another process may be making a new one at this moment
    while _is_empty_file(path) and (data_dir / ADMIN_KEY_NAME).exists():
        if time.monotonic() > give_up:
            raise StoreUnavailableError(
                f"The hub's database ({path}) is empty: the file has lost its content.",
                remedy="Put back a copy of the file, or move it away: servers send what they have again,"
                " create the keys and join the servers again.",
            )
        time.sleep(_WAL_RETRY_S)


def _is_empty_file(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def _make_private_file(path: Path) -> None:
    """Create the database file readable by its owner only; SQLite gives its side files the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DataFolderError(f"The database {path} cannot be opened: {error.strerror}.") from error


def _sqlite_engine(url: URL, *, writer: bool) -> Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=1 if writer else READERS,
        max_overflow=0,
        pool_use_lifo=True,  # the connection used last has the warmest cache
        pool_timeout=WRITER_WAIT_S,
        connect_args={"check_same_thread": False, "timeout": WRITER_WAIT_S, "cached_statements": 512},
        hide_parameters=True,
    )
    pragmas = ["busy_timeout=60000", "synchronous=FULL", "foreign_keys=ON"]
    if writer:
        # What is deleted is overwritten: prompts and names shall not be found in the file afterwards.
        pragmas += ["cache_size=-16384", "journal_size_limit=67108864", "secure_delete=ON"]
    else:
        pragmas += ["cache_size=-16384", "query_only=ON"]
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, never by the driver's guess
        _use_wal(connection)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    _listen(engine, prepare, start)
    return engine


def _use_wal(connection: Any) -> None:
    """Switch a new file to WAL. SQLite does not wait for this, whatever its busy timeout: two processes that
    make the same new database would meet "locked" at once."""
    give_up = time.monotonic() + WRITER_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
        time.sleep(_WAL_RETRY_S)


def _postgresql_engine(url: URL, *, writer: bool) -> Engine:
    options = f"-c lock_timeout={int(WRITER_WAIT_S * 1000)} -c timezone=UTC"
    if writer:
        # A plan kept from when the tables were nearly empty reads them whole, until the transaction ends.
        options += " -c plan_cache_mode=force_custom_plan"
    engine = sa.create_engine(
        url,
        pool_size=1 if writer else READERS,
        max_overflow=0,
        pool_timeout=WRITER_WAIT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": options, "application_name": "stablequeue-hub"},
        hide_parameters=True,
    )
    if writer:
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _listen(engine: Engine, prepare: Callable[[Any, Any], None], start: Callable[[Connection], None]) -> None:
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", start)
