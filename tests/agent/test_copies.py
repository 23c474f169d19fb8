"""Two real agents and the real hub: a model gets from one server to the other, whole, and is read once."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from stablequeue_client.agent import busy_marker
from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.agent.main import run
from stablequeue_client.files import file_reader
from stablequeue_client.files.model_writer import HIDDEN_FOLDER, space_needed
from stablequeue_client.files.write_io import WriteIO
from stablequeue_client.hub_client.api import HubApi, Json
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.shared.wire.runner import NextRequest
from stablequeue_client.transfers import sending

from .real_hub import (
    CLOCK_AHEAD,
    RealHub,
    environment,
    index_rows,
    model_bytes,
    on_disk,
    settings_for,
    until,
)

pytest.importorskip("fastapi", reason="the hub is not installed here")

SIZE = 20 * 1024 * 1024


@dataclass
class Computer:
    """One server: its folder, its data, what its owner allows."""

    alias: str
    folder: Path
    data: Path
    settings: AgentSettings

    @property
    def server_id(self) -> str:
        identity = load_identity(self.data)
        assert identity is not None
        return identity.server_id

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its agent in a thread, until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(
            target=lambda: run(self.settings, stop=stop, clock=CLOCK_AHEAD), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of the tests may have less free than an owner's."""
    monkeypatch.setattr("stablequeue_client.files.model_writer.RESERVE_BYTES", 0)
    monkeypatch.setattr("stablequeue_client.files.model_writer.RESERVE_SHARE", 0.0)
    monkeypatch.setattr("stablequeue_client.agent.heartbeat.HEARTBEAT_INTERVAL_S", 0.5)


@pytest.fixture
def computer(real_hub: RealHub, tmp_path: Path) -> Any:
    def make(alias: str, files: dict[str, bytes], **policy: Any) -> Computer:
        folder, data = tmp_path / alias / "loras", tmp_path / alias / "data"
        folder.mkdir(parents=True)
        data.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        settings = replace(settings_for(real_hub, data, folder), alias=alias, **policy)
        return Computer(alias, folder, data, settings)

    return make


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that any agent reads in full."""
    found: list[str] = []
    real = file_reader.hash_file

    def noted(opened: Any, **options: Any) -> Any:
        found.append(opened.path)
        return real(opened, **options)

    monkeypatch.setattr(file_reader, "hash_file", noted)
    return found


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def only(hub: RealHub) -> Json:
    (transfer,) = hub.admin().transfers()["transfers"]
    return dict(transfer)


def known(hub: RealHub, *contents: bytes) -> bool:
    return {sha256_of(one) for one in contents} <= {sha256 for _, sha256 in hub.rows().values()}


def test_a_model_is_copied_verified_and_never_read_again(
    real_hub: RealHub, computer: Any, hashed: list[str]
) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    with a.running(), b.running():
        until(lambda: known(real_hub, content, model_bytes(4_000, 2)), 20, "both to tell what they have")
        until(lambda: real_hub.admin().copy_model(sha256_of(content), "forge-b") is not None, 20, "a plan")
        until(lambda: only(real_hub)["state"] == "done", 40, "the copy")
        until(lambda: real_hub.rows(b.server_id).get("ink.safetensors") is not None, 20, "the hub to know")
        assert real_hub.rows(b.server_id)["ink.safetensors"] == ("ready", sha256_of(content))
        time.sleep(1.5)  # a watcher saw the new file: its walk finds it known
    assert (b.folder / "ink.safetensors").read_bytes() == content
    assert os.listdir(b.folder / HIDDEN_FOLDER) == []
    assert index_rows(b.data)["ink.safetensors"] == ("ready", sha256_of(content))
    assert [path for path in hashed if path.startswith(str(b.folder / "ink"))] == []
    copied = only(real_hub)
    assert (copied["source"], copied["path"], copied["bytes_done"]) == (
        "forge-a",
        "ink.safetensors",
        len(content),
    )


@contextmanager
def both(*computers: Computer) -> Iterator[None]:
    with ExitStack() as stack:
        for one in computers:
            stack.enter_context(one.running())
        yield


class Served:
    """What the sources of this process hand out, slowly; a test looks and interferes between two pieces."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.changed: Callable[[bytes], bytes] = lambda data: data
        self.go_on = threading.Event()
        real = sending.read_chunk
        monkeypatch.setattr(sending, "CHUNK_BYTES", 1 << 20)

        def slowly(*args: Any, **options: Any) -> bytes:
            self.count += 1
            if self.count > 3:
                self.go_on.wait(60)
            return self.changed(real(*args, **options))

        monkeypatch.setattr(sending, "read_chunk", slowly)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    return Served(monkeypatch)


def begun(hub: RealHub, served: Served, content: bytes, target: str = "forge-b") -> None:
    """A copy of which a few pieces came."""
    until(lambda: known(hub, content), 20, "the source to tell what it has")
    until(lambda: hub.admin().copy_model(sha256_of(content), target) is not None, 20, "a plan")
    until(lambda: served.count > 3, 30, "the first pieces")


def ends(hub: RealHub, *states: str) -> Json:
    until(lambda: only(hub)["state"] in states, 40, f"the copy to be {states}")
    return only(hub)


def test_a_source_that_changes_in_mid_copy_serves_no_mixed_content(
    real_hub: RealHub, computer: Any, served: Served
) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    with both(a, b):
        begun(real_hub, served, content)
        (a.folder / "ink.safetensors").write_bytes(model_bytes(SIZE, 3))
        served.go_on.set()
        ended = ends(real_hub, "failed")
    assert ended["failure"] == "source_changed"
    assert "changed" in ended["text"]
    assert sorted(on_disk(b.folder)) == ["other.safetensors"]


def test_a_source_that_lies_leaves_nothing(real_hub: RealHub, computer: Any, served: Served) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    served.changed = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    served.go_on.set()
    with both(a, b):
        begun(real_hub, served, content)
        ended = ends(real_hub, "failed")
    assert ended["failure"] == "wrong_content"
    assert sorted(on_disk(b.folder)) == ["other.safetensors"]
    assert os.listdir(b.folder / HIDDEN_FOLDER) == []


def test_a_cancelled_copy_leaves_nothing(real_hub: RealHub, computer: Any, served: Served) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    with both(a, b):
        begun(real_hub, served, content)
        real_hub.admin().act_on_transfer(str(only(real_hub)["id"]), "cancel")
        served.go_on.set()
        until(lambda: os.listdir(b.folder / HIDDEN_FOLDER) == [], 20, "the part to go")
    assert only(real_hub)["state"] == "cancelled"
    assert sorted(on_disk(b.folder)) == ["other.safetensors"]


def test_a_hub_that_dies_in_mid_copy_costs_the_pieces_on_their_way(
    real_hub: RealHub, computer: Any, served: Served
) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    with both(a, b):
        begun(real_hub, served, content)
        real_hub.kill()
        served.go_on.set()
        real_hub.start()
        ended = ends(real_hub, "done", "failed")
    assert ended["state"] == "done", ended
    assert on_disk(b.folder)["ink.safetensors"] == sha256_of(content)
    assert served.count < 2 * (SIZE >> 20)


def test_a_target_that_dies_in_mid_copy_resumes_where_it_was(
    real_hub: RealHub, computer: Any, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stablequeue_client.files.model_writer.JOURNAL_EVERY", 1 << 20)
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    with a.running():
        with b.running():
            begun(real_hub, served, content)
            until(lambda: only(real_hub)["bytes_done"] > 0, 20, "some of it")
        came = only(real_hub)["bytes_done"]
        before, served.count = served.count, 4
        served.go_on.set()
        with b.running():
            ended = ends(real_hub, "done", "failed")
    assert ended["state"] == "done", ended
    assert on_disk(b.folder)["ink.safetensors"] == sha256_of(content)
    assert served.count - 4 <= (SIZE - came) // (1 << 20) + 3, before


def test_names_that_clash_or_climb_end_inside_the_folder(real_hub: RealHub, computer: Any) -> None:
    content, theirs = model_bytes(50_000, 1), model_bytes(60_000, 2)
    a = computer("forge-a", {"x\\..\\con.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"_con.safetensors": theirs})
    with both(a, b):
        until(lambda: known(real_hub, content, theirs), 20, "both to tell what they have")
        real_hub.admin().copy_model(sha256_of(content), "forge-b")
        ended = ends(real_hub, "done", "failed")
    assert ended["state"] == "done", ended
    assert ended["path"] == f"_con-{sha256_of(content)[:10]}.safetensors"
    assert on_disk(b.folder) == {"_con.safetensors": sha256_of(theirs), ended["path"]: sha256_of(content)}


def test_the_policy_on_the_machine_counts_whatever_the_hub_says(real_hub: RealHub, computer: Any) -> None:
    content = model_bytes(50_000, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=False)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)}, receive="never")
    with both(a, b):
        until(lambda: known(real_hub, content, model_bytes(4_000, 2)), 20, "both to tell what they have")
        time.sleep(1)
        _say_otherwise(real_hub, a, '{"hand_out":true}')
        _say_otherwise(real_hub, b, '{"receive":"all"}')
        real_hub.admin().copy_model(sha256_of(content), "forge-b")
        assert ends(real_hub, "failed", "done")["failure"] == "receive_never"
    b = replace(b, settings=replace(b.settings, receive="peers"))
    with both(a, b):
        until(lambda: real_hub.admin().copy_model(sha256_of(content), "forge-b") is not None, 20, "a plan")
        until(lambda: len(real_hub.admin().transfers()["transfers"]) == 2, 5, "a second copy")
        until(lambda: real_hub.admin().transfers()["transfers"][0]["state"] == "failed", 40, "its end")
        assert real_hub.admin().transfers()["transfers"][0]["failure"] == "not_handed_out"
    assert sorted(on_disk(b.folder)) == ["other.safetensors"]


def _say_otherwise(hub: RealHub, computer: Computer, policy: str) -> None:
    """A hub that does not keep to what the machine said."""
    with sqlite3.connect(hub.database, timeout=20) as connection:
        connection.execute(
            "UPDATE servers SET transfer_policy_json = ? WHERE server_id = ?", (policy, computer.server_id)
        )
    connection.close()


def test_a_full_disk_is_said_and_nothing_is_lost(
    real_hub: RealHub, computer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    full = [True]
    real = WriteIO.write_at

    def write_at(self: WriteIO, descriptor: int, data: memoryview, offset: int) -> None:
        if full[0] and offset > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, descriptor, data, offset)

    monkeypatch.setattr(WriteIO, "write_at", write_at)
    with both(a, b):
        until(lambda: known(real_hub, content, model_bytes(4_000, 2)), 20, "both to tell what they have")
        until(lambda: real_hub.admin().copy_model(sha256_of(content), "forge-b") is not None, 20, "a plan")
        ended = ends(real_hub, "failed", "done")
        assert (ended["failure"], "full" in ended["text"]) == ("no_space", True)
        full[0] = False
        real_hub.admin().copy_model(sha256_of(content), "forge-b")
        until(lambda: real_hub.admin().transfers()["transfers"][0]["state"] == "done", 40, "the second try")
    assert on_disk(b.folder)["ink.safetensors"] == sha256_of(content)


def test_a_generation_on_the_target_holds_the_copy_up(
    real_hub: RealHub, computer: Any, served: Served
) -> None:
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    with both(a, b):
        begun(real_hub, served, content)
        busy_marker.touch(b.data)
        os.utime(b.data / busy_marker.FILE_NAME, (CLOCK_AHEAD.now(), CLOCK_AHEAD.now()))
        served.go_on.set()
        time.sleep(2)
        assert only(real_hub)["state"] == "running"
        assert not (b.folder / "ink.safetensors").exists()
        assert ends(real_hub, "done", "failed")["state"] == "done"


# --- behind a proxy ---------------------------------------------------------------------------------------


class Proxy(ThreadingHTTPServer):
    """Stands before a hub and takes no body above ``limit``, as nginx does unless told otherwise. ``rude``:
    it hangs up without a word."""

    daemon_threads = True

    def __init__(self, hub: RealHub, limit: int, *, rude: bool = False) -> None:
        self.hub, self.limit, self.rude, self.refused = hub, limit, rude, 0
        super().__init__(("127.0.0.1", 0), _Forward)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > self.server.limit:
            self.server.refused += 1
            self.close_connection = True
            if not self.server.rude:
                self.rfile.read(length)
                page = b"<html>413 Request Entity Too Large</html>"
                self._answer(413, {"Content-Type": "text/html"}, page)
            return
        body = self.rfile.read(length)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        answer = requests.request(
            self.command, self.server.hub.url + self.path, data=body, headers=kept, timeout=60
        )
        kind = {"Content-Type": answer.headers.get("Content-Type", "")}
        self._answer(answer.status_code, kind, answer.content)

    do_GET = do_POST = do_PUT = forward  # noqa: N815 - the names of the standard library

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("rude", [False, True], ids=["413", "hangs up"])
def test_a_proxy_that_refuses_large_bodies_gets_smaller_pieces(
    real_hub: RealHub, computer: Any, rude: bool
) -> None:
    content = model_bytes(SIZE // 4, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    proxy = Proxy(real_hub, 1_000_000, rude=rude)
    a = replace(a, settings=replace(a.settings, hub_url=proxy.url))
    with both(a, b):
        until(lambda: known(real_hub, content, model_bytes(4_000, 2)), 20, "both to tell what they have")
        until(lambda: real_hub.admin().copy_model(sha256_of(content), "forge-b") is not None, 20, "a plan")
        ended = ends(real_hub, "done", "failed")
    proxy.shutdown()
    assert ended["state"] == "done", ended
    assert proxy.refused >= 3
    assert on_disk(b.folder)["ink.safetensors"] == sha256_of(content)


def test_a_proxy_that_lets_nothing_through_is_named_with_the_setting_that_helps(
    real_hub: RealHub, computer: Any
) -> None:
    content = model_bytes(SIZE // 4, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)})
    proxy = Proxy(real_hub, 100_000)
    a = replace(a, settings=replace(a.settings, hub_url=proxy.url))
    with both(a, b):
        until(lambda: known(real_hub, content, model_bytes(4_000, 2)), 20, "both to tell what they have")
        until(lambda: real_hub.admin().copy_model(sha256_of(content), "forge-b") is not None, 20, "a plan")
        ended = ends(real_hub, "done", "failed")
    proxy.shutdown()
    assert (ended["failure"], "client_max_body_size" in ended["text"]) == ("chunk_too_large", True)
    assert sorted(on_disk(b.folder)) == ["other.safetensors"]


# --- a job, and processes --------------------------------------------------------------------------------


@contextmanager
def processes(hub: RealHub, *computers: Computer) -> Iterator[None]:
    """Their agents, each in a process of its own."""
    children = []
    try:
        for one in computers:
            settings = one.settings
            words = [
                sys.executable, "-m", "stablequeue_client", "agent", f"--data={one.data}", "--hub", hub.url,
                f"--loras={one.folder}", f"--alias={one.alias}", f"--receive={settings.receive}",
                "--hand-out" if settings.hand_out else "--no-hand-out",
            ]  # fmt: skip
            log = (one.data.parent / "agent.log").open("ab")
            secrets = {"STABLEQUEUE_JOIN": settings.join_secret or ""}
            children.append(
                subprocess.Popen(words, env={**environment(), **secrets}, stdout=log, stderr=log, cwd="/")
            )
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(30)


@pytest.mark.slow
def test_a_job_waits_its_model_arrives_and_it_runs(real_hub: RealHub, computer: Any, tmp_path: Path) -> None:
    """Hub and both agents as processes, as an owner starts them."""
    if shutil.disk_usage(tmp_path).free < space_needed(shutil.disk_usage(tmp_path).total) + 2 * SIZE:
        pytest.skip("the disk has no room above the reserve")
    content = model_bytes(SIZE, 1)
    a = computer("forge-a", {"ink.safetensors": content}, hand_out=True)
    b = computer("forge-b", {"other.safetensors": model_bytes(4_000, 2)}, receive="peers")
    with processes(real_hub, a, b):
        until(lambda: known(real_hub, content, model_bytes(4_000, 2)), 40, "both to tell what they have")
        identity = load_identity(b.data)
        assert identity is not None
        mine = HubApi(real_hub.url, identity.key)
        mine.put_capabilities(b.server_id, ServerCapabilities(webui="forge", works_for_others="always"))
        polls = NextRequest("runner-1", True, None, wait_s=0)
        assert mine.next_job(b.server_id, polls) is None
        payload = {"prompt": "a cat <lora:ink:1>"}
        admin = real_hub.admin()
        job_id = admin.submit_job({"payload": payload, "targets": ["forge-b"]})["job_id"]
        said: set[str] = set()

        def handed_over() -> bool:
            said.add(str(admin.job_why(job_id)["waiting_for"]))
            job = mine.next_job(b.server_id, polls)
            return job is not None and job.job_id == job_id

        until(handed_over, 60, "the job to be handed over")
    assert on_disk(b.folder)["ink.safetensors"] == sha256_of(content)
    assert real_hub.rows(b.server_id)["ink.safetensors"] == ("ready", sha256_of(content))
    assert any("it comes from forge-a to forge-b" in sentence for sentence in said), said
    assert only(real_hub)["asked_by"] == "hub"
