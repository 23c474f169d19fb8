"""Stores on both databases, servers in them, and inventories to send."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stablequeue_hub.store.engine import SQLITE_NAME, Store, open_store
from stablequeue_hub.store.migrate import migrate
from stablequeue_hub.store.tables import servers


def _load(path: Path) -> ModuleType:
    """A module beside the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


postgresql = _load(Path(__file__).parent.parent / "postgresql_server.py")


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server where databases may be made; its absence fails in CI and skips elsewhere."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgresql.postgresql_server())
        except postgresql.NoPostgresqlError as reason:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI needs PostgreSQL: {reason}")
            pytest.skip(str(reason))
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with the newest schema, for copies."""
    with postgresql.new_database(postgresql_url) as url:
        store = open_store(url, tmp_path_factory.mktemp("template"))
        migrate(store)
        store.close()
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the newest schema, for copies."""
    folder = tmp_path_factory.mktemp("template")
    store = open_store(None, folder)
    migrate(store)
    store.close()
    return folder / SQLITE_NAME


BOTH = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgresql),
]


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of a database without any table, on each database; None is SQLite's default."""
    if request.param == "sqlite":
        yield None
        return
    with postgresql.new_database(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Makes empty stores with the newest schema: ``new_store("sqlite")``, ``new_store("postgresql")``."""
    with ExitStack() as stack:

        def make(kind: str) -> Store:
            number = len(list(tmp_path.iterdir()))
            folder = tmp_path / f"data{number}"
            folder.mkdir()
            url = None
            if kind == "sqlite":
                shutil.copy(request.getfixturevalue("sqlite_template"), folder / SQLITE_NAME)
            else:
                server = request.getfixturevalue("postgresql_url")
                template = request.getfixturevalue("postgresql_template")
                url = stack.enter_context(postgresql.new_database(server, template))
            store = open_store(url, folder)
            stack.callback(store.close)
            return store

        yield make


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    """A store with the newest schema, on each database."""
    return new_store(request.param)


@pytest.fixture
def join() -> Callable[..., None]:
    """Makes servers known: ``join(store, "a", "b")``; the alias is the id in capitals."""

    def add(store: Store, *server_ids: str) -> None:
        with store.write() as connection:
            for server_id in server_ids:
                row = {"server_id": server_id, "alias": server_id.upper(), "alias_key": server_id}
                connection.execute(servers.insert(), {**row, "joined_ms": 1})

    return add


class FakeLive:
    """Who can be reached, as a test says."""

    def __init__(self, *unreachable: str, contact_ms: int | None = None) -> None:
        self.unreachable = set(unreachable)
        self.contact_ms = contact_ms

    def is_reachable(self, server_id: str) -> bool:
        return server_id not in self.unreachable

    def last_contact_ms(self, server_id: str) -> int | None:
        return self.contact_ms

    def activity(self, server_id: str) -> Any:
        return None


@pytest.fixture
def live() -> Callable[..., FakeLive]:
    return FakeLive


@pytest.fixture(scope="session")
def wire() -> ModuleType:
    """What an agent would send: see inventory_on_the_wire.py."""
    return _load(Path(__file__).parent / "inventory_on_the_wire.py")
