"""A hub without a network: the real application over a real store, asked through its ASGI interface."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)
from stablequeue_hub.access.keys import create_key
from stablequeue_hub.app import create_app
from stablequeue_hub.hub import Hub
from stablequeue_hub.settings import HubSettings
from stablequeue_hub.store.engine import SQLITE_NAME, Store, open_store
from stablequeue_hub.store.migrate import migrate

from .. import postgresql_server as postgresql
from ..fake_runner import DiskFile, FakeRunner, FakeWebUI

BASE = "http://127.0.0.1:8383"


class FakeClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self.seconds += seconds


@dataclass
class Server:
    """A server as its agent would keep it."""

    server_id: str
    secret: str
    alias: str

    @property
    def key(self) -> str:
        return f"sq_{self.server_id}_{self.secret}"


class HubUnderTest:
    """Asks the application; ``request`` runs one request to its end."""

    def __init__(self, app: FastAPI, clock: FakeClock) -> None:
        self.app = app
        self.clock = clock
        self.hub: Hub = app.state.hub
        self.loop = asyncio.new_event_loop()
        self.admin = self.make_key("admin")

    def make_key(self, scope: str, **options: Any) -> str:
        with self.hub.store.write() as connection:
            return create_key(connection, scope, actor="hub", now_ms=self.clock.now_ms(), **options).key

    def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        client: tuple[str, int] = ("127.0.0.1", 5000),
        **options: Any,
    ) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=client)
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as asking:
                return await asking.request(method, path, headers=headers, **options)

        return self.loop.run_until_complete(ask())

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def join(self, alias: str, *, key: str | None = None) -> Server:
        server = Server(secrets.token_hex(16), secrets.token_hex(32), alias)
        self.joined(server, key=key).raise_for_status()
        return server

    def joined(self, server: Server, *, key: str | None = None) -> httpx.Response:
        body = {"server_id": server.server_id, "secret": server.secret, "alias": server.alias}
        return self.request("POST", "/api/v1/servers/join", key=key or self.admin, json=body)

    def beat(self, server: Server, boot: str, counter: int, **fields: Any) -> httpx.Response:
        body = {
            "boot_id": boot,
            "boot_counter": counter,
            "index_id": "index",
            "sequence": 0,
            "digest": "0" * 64,
            **fields,
        }
        return self.request(
            "POST", f"/api/v1/servers/{server.server_id}/heartbeat", key=server.key, json=body
        )

    def sync(self, server: Server, body: dict[str, Any] | bytes, **options: Any) -> httpx.Response:
        raw = body if isinstance(body, bytes) else gzip.compress(_json(body))
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return self.request(
            "POST",
            f"/api/v1/servers/{server.server_id}/models/sync",
            key=server.key,
            content=raw,
            headers=headers,
            **options,
        )


def _json(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def full_sync(
    names: list[str], *, index_id: str = "index", sequence: int = 1, salt: str = ""
) -> dict[str, Any]:
    """A full inventory of LoRAs called so in one folder; contents differ by name and ``salt``."""
    root = entry_dict(RootEntry("aaaaaaaa", "lora", "healthy"))
    entries = [
        entry_dict(
            FileEntry(
                "aaaaaaaa",
                f"{name}.safetensors",
                "lora",
                1000,
                "ready",
                WireDigests(sha256=hashlib.sha256((salt + name).encode()).hexdigest()),
            )
        )
        for name in names
    ]
    digest = digest_hex(digest_sum(row_digest(entry) for entry in [root, *entries]))
    return {
        "protocol": 1,
        "index_id": index_id,
        "mode": "full",
        "base_sequence": 0,
        "sequence": sequence,
        "digest": digest,
        "roots": [root],
        "upserts": entries,
        "removals": [],
    }


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


BOTH_DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgresql),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What a module does with rows is tried on both databases; the rest on SQLite."""
    if getattr(metafunc.module, "ON_BOTH_DATABASES", False) and "database" in metafunc.fixturenames:
        metafunc.parametrize("database", BOTH_DATABASES, indirect=True)


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
        opened = open_store(url, tmp_path_factory.mktemp("template"))
        migrate(opened)
        opened.close()
        yield url


@pytest.fixture
def postgresql_database(postgresql_url: str, postgresql_template: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without servers and models."""
    with postgresql.new_database(postgresql_url, postgresql_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the newest schema, for copies."""
    folder = tmp_path_factory.mktemp("template")
    opened = open_store(None, folder)
    migrate(opened)
    opened.close()
    return folder / SQLITE_NAME


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    """The URL of a database with the newest schema; None: an SQLite file in the data folder."""
    if getattr(request, "param", "sqlite") == "sqlite":
        (tmp_path / "hub").mkdir()
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "hub" / SQLITE_NAME)
        yield None
        return
    yield request.getfixturevalue("postgresql_database")


@pytest.fixture
def store(database: str | None, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(database, tmp_path / "hub")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> HubSettings:
    """Without a limit of requests: the tests' time does not go by. Streams end with what there is."""
    return HubSettings(data_dir=tmp_path / "hub", requests_per_s=0, stream_s=0)


@pytest.fixture
def hub(settings: HubSettings, store: Store, clock: FakeClock) -> Iterator[HubUnderTest]:
    under_test = HubUnderTest(create_app(settings, store, clock=clock), clock)
    yield under_test
    under_test.hub.sync_limits.close()
    under_test.loop.close()


@pytest.fixture
def inventory() -> Callable[..., dict[str, Any]]:
    return full_sync


class Hosts:
    """WebUIs with fake runners that joined the hub under test; each belongs to one server."""

    def __init__(self, hub: HubUnderTest) -> None:
        self._hub = hub
        self.servers: dict[str, Server] = {}

    def add(self, alias: str, *files: Any, works: str = "always", polls: bool = True, **webui: Any) -> Any:
        """Its runner, which asked for a job once, as when its WebUI has started. ``files``: (kind, path,
        content) or ``DiskFile``s."""
        server = self.servers[alias] = self._hub.join(alias)
        on_disk = [file if not isinstance(file, tuple) else DiskFile(*file) for file in files]
        host = FakeWebUI(files=on_disk, **webui)

        def call(method: str, path: str, **options: Any) -> httpx.Response:
            return self._hub.request(method, path, key=server.key, **options)

        runner = FakeRunner(host, call, server.server_id, runner_id=f"{alias}-1")
        runner.server = server
        capabilities = {"webui": host.family, "works_for_others": works}
        path = f"/api/v1/servers/{server.server_id}/capabilities"
        assert call("PUT", path, json=capabilities).status_code == 204
        self.tell(runner)
        if polls:
            runner.next()
        return runner

    def tell(self, runner: Any) -> None:
        """Its agent sends what lies there now."""
        answer = self._hub.sync(runner.server, runner.webui.inventory())
        assert answer.status_code == 200, answer.text
        sequence = runner.webui.sequence
        beat = self._hub.beat(runner.server, "boot", sequence, sequence=sequence)
        assert beat.status_code == 200, beat.text


@pytest.fixture
def hosts(hub: HubUnderTest) -> Hosts:
    return Hosts(hub)
