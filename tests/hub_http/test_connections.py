"""Connections that say nothing, read nothing, or are too many: the hub answers everybody else."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from stablequeue_hub.process import connections
from stablequeue_hub.process.connections import BoundedProtocol, connections_max

from .test_hub_process import RunningHub

resource = pytest.importorskip("resource")
FILES = 160


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@pytest.fixture
def small_hub(tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that may open only few files."""
    running = RunningHub(tmp_path / "hub", "--port", "0", before=few_files)
    yield running.wait()
    running.stop()


def test_more_silent_connections_than_the_hub_has_files_shut_nobody_out(small_hub: RunningHub) -> None:
    with ExitStack() as stack:
        for _ in range(2 * FILES):
            silent = socket.create_connection(("127.0.0.1", small_hub.port), timeout=5)
            stack.callback(silent.close)
        for _ in range(20):
            assert small_hub.ask("GET", "/api/v1/keys", key=small_hub.admin)[0] == 200
    assert "Too many open files" not in small_hub.log.read_text()
    assert small_hub.log.read_text().count("\n") < 5


# --- one connection, with short times -----------------------------------------------------------------------


class Served:
    """A server with an application of a test's own."""

    def __init__(self, app: Any) -> None:
        self.loop = asyncio.new_event_loop()
        config = uvicorn.Config(app, log_config=None, http=BoundedProtocol, lifespan="off", access_log=False)
        config.load()
        self.state = ServerState()

        async def start() -> Any:
            return await self.loop.create_server(
                lambda: BoundedProtocol(config=config, server_state=self.state, app_state={}), "127.0.0.1", 0
            )

        self.server = self.loop.run_until_complete(start())
        self.port = self.server.sockets[0].getsockname()[1]

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.turn(0.02)
        return made

    def turn(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def close(self) -> None:
        for one in list(self.state.connections):
            one.transport.abort()
        self.server.close()
        for task in list(self.state.tasks):
            task.cancel()
        self.turn(0.05)
        self.loop.close()


async def answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def never_ends(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    monkeypatch.setattr(connections, "STALLED_S", 0.4)
    served: list[Served] = []

    def begin(app: Any) -> Served:
        served.append(Served(app))
        return served[-1]

    yield begin
    for one in served:
        one.close()


ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_connection_that_asks_a_letter_at_a_time_ends_also_after_a_first_answer(serve: Any) -> None:
    served = serve(answers)
    for begins_with in (b"", ASK):
        with served.connect() as slow:
            if begins_with:
                slow.sendall(begins_with)
                served.turn(0.05)
                assert slow.recv(4096).endswith(b"ok")
            with suppress(ConnectionError):
                for letter in ASK[:8]:
                    slow.send(bytes([letter]))
                    served.turn(0.08)
            served.turn(0.1)
            assert not served.state.connections


def test_a_connection_between_two_requests_is_left_alone(serve: Any) -> None:
    served = serve(answers)
    with served.connect() as waiting:
        for _ in range(2):
            waiting.sendall(ASK)
            served.turn(0.4)
            assert waiting.recv(4096).endswith(b"ok")


def test_who_reads_nothing_is_ended_and_who_reads_slowly_is_not(serve: Any) -> None:
    served = serve(never_ends)
    with served.connect() as deaf, served.connect() as slow:
        deaf.sendall(ASK)
        slow.sendall(ASK)
        end = time.monotonic() + 20
        slow.setblocking(False)
        while len(served.state.connections) > 1 and time.monotonic() < end:
            served.turn(0.02)
            with suppress(BlockingIOError):
                while slow.recv(1 << 16):
                    pass
        (left,) = served.state.connections
        assert left.client[1] == slow.getsockname()[1]


def test_the_longest_idle_makes_room_and_one_that_never_asked_before_it(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 60.0)
    monkeypatch.setattr(BoundedProtocol, "most", 3)
    served = serve(answers)
    with ExitStack() as stack:
        asked = stack.enter_context(served.connect())
        asked.sendall(ASK)
        served.turn(0.05)
        _, silent_too, newest = (stack.enter_context(served.connect()) for _ in range(3))
        ports = {one.client[1] for one in served.state.connections}
        assert ports == {one.getsockname()[1] for one in (asked, silent_too, newest)}


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize(
    ("limits", "most"), [((1024, 1024), 768), ((1024, 524_288), 4096), ((128, 128), 64), ((-1, -1), 4096)]
)
def test_room_is_left_for_the_database_and_pictures(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], most: int
) -> None:
    asked = []
    fake = SimpleNamespace(
        RLIMIT_NOFILE=0,
        RLIM_INFINITY=-1,
        getrlimit=lambda _: limits,
        setrlimit=lambda _, wanted: asked.append(wanted),
    )
    monkeypatch.setitem(sys.modules, "resource", fake)
    assert connections_max() == most
    assert asked == ([(8192, limits[1])] if limits[1] > 1024 else [(limits[1], limits[1])] * (limits[0] > 0))
