"""The hub as a process: start, keys beside it, the network choice, signals, and no secret in any log."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from stablequeue_hub.access.network import machine_addresses
from stablequeue_hub.store.engine import HUB_LOCK_ID

from .. import postgresql_server as postgresql

Start = Callable[..., "RunningHub"]


PATIENCE_S = 90
"""Nothing here measures time: a machine that also does other things may take as long."""


class RunningHub:
    """A real hub; its output lands in ``log``."""

    def __init__(
        self,
        data: Path,
        *options: str,
        environment: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        command = [sys.executable, "-m", "stablequeue_hub", "hub", "--data", str(data), *options]
        checkout = str(Path(__file__).parents[2])
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": checkout, **(environment or {})},
                preexec_fn=before,
            )

    def wait(self) -> RunningHub:
        give_up = time.monotonic() + PATIENCE_S
        while not (self.data / "hub.json").exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up
            time.sleep(0.02)
        ready = json.loads((self.data / "hub.json").read_text())
        assert ready["pid"] == self.process.pid
        self.port: int = ready["port"]
        self.url: str = ready["url"]
        self.admin = (self.data / "admin.key").read_text().strip()
        return self

    def ask(
        self, method: str, path: str, body: Any = None, key: str = "", address: str = "127.0.0.1"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address, self.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content.startswith((b"{", b"[")) else content.decode()

    def stop(self, name: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(name)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[RunningHub] = []

    def begin(*options: str, data: str = "hub", **more: Any) -> RunningHub:
        started.append(RunningHub(tmp_path / data, "--port", "0", *options, **more))
        return started[-1].wait()

    yield begin
    for running in started:
        running.stop()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    checkout = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "stablequeue_hub", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": checkout},
    )


def test_a_hub_says_where_it_listens_keeps_its_files_private_and_ends_cleanly(start: Start) -> None:
    hub = start()
    assert hub.ask("GET", "/healthz")[1]["service"] == "stablequeue-hub"
    assert f"listens on {hub.url}" in hub.log.read_text()
    if os.name == "posix":
        assert stat.S_IMODE(hub.data.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in hub.data.iterdir()}
        assert set(modes.values()) == {0o600}, modes
    assert hub.stop() == 0
    assert not (hub.data / "hub.json").exists()


def test_a_hub_keeps_its_id_and_its_key_over_a_restart(start: Start) -> None:
    first = start()
    hub_id = first.ask("GET", "/healthz")[1]["hub_id"]
    first.stop(signal.SIGINT)
    second = start()
    assert second.ask("GET", "/healthz")[1]["hub_id"] == hub_id
    assert second.admin == first.admin
    assert second.ask("GET", "/api/v1/keys", key=second.admin)[0] == 200


def test_a_lost_admin_key_is_replaced_at_the_next_start(start: Start) -> None:
    first = start()
    first.stop()
    (first.data / "admin.key").unlink()
    second = start()
    assert second.admin != first.admin
    assert second.ask("GET", "/api/v1/keys", key=second.admin)[0] == 200


def test_after_kill_the_hub_starts_again(start: Start) -> None:
    first = start()
    first.process.kill()
    first.process.wait(PATIENCE_S)
    (first.data / "hub.json").unlink()
    assert start().ask("GET", "/healthz")[0] == 200


def test_a_second_hub_over_the_same_data_is_refused(start: Start) -> None:
    hub = start()
    second = run("hub", "--data", str(hub.data), "--port", "0")
    assert second.returncode == 5
    assert "already" in second.stderr
    assert "Traceback" not in second.stderr
    assert hub.ask("GET", "/healthz")[0] == 200
    assert (hub.data / "hub.json").exists()


def test_a_taken_port_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        failed = run("hub", "--data", str(tmp_path / "hub"), "--port", str(port))
    assert failed.returncode == 1
    assert f"Port {port}" in failed.stderr
    assert "--port" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_address_that_is_not_this_computers_is_refused_and_not_remembered(
    tmp_path: Path, start: Start
) -> None:
    failed = run("hub", "--data", str(tmp_path / "hub"), "--port", "0", "--host", "203.0.113.7")
    assert failed.returncode == 2
    assert "203.0.113.7" in failed.stderr
    assert start().url.startswith("http://127.0.0.1:")


def test_keys_are_made_listed_and_revoked_while_the_hub_runs(start: Start) -> None:
    hub = start()
    data = str(hub.data)
    made = run("keys", "create", "--data", data, "--scope", "view", "--name", "phone", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    assert hub.ask("GET", "/api/v1/servers", key=key["key"])[0] == 200
    listed = run("keys", "list", "--data", data)
    assert key["key_id"] in listed.stdout
    assert key["key"] not in listed.stdout
    assert run("keys", "revoke", key["key_id"], "--data", data).returncode == 0
    give_up = time.monotonic() + PATIENCE_S  # five seconds, as a test with its own clock proves
    while hub.ask("GET", "/api/v1/servers", key=key["key"])[0] == 200:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    assert run("keys", "revoke", "nobody", "--data", data).returncode == 1
    assert run("keys", "create", "--scope", "view").returncode == 2


def still_answers(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/healthz")
        return bool(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.skipif(not machine_addresses(), reason="this machine has no address but the loopback's")
def test_the_hub_becomes_reachable_at_once_and_stays_so_until_told_otherwise(start: Start) -> None:
    hub = start()
    address = machine_addresses()[0]

    def reachable() -> bool:
        try:
            return hub.ask("GET", "/healthz", address=address)[0] == 200
        except OSError:
            return False

    assert not reachable()
    run("keys", "create", "--data", str(hub.data), "--scope", "admin")
    assert not reachable()
    held = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE_S)
    held.request("GET", "/healthz")
    held.getresponse().read()
    status, answer = hub.ask("POST", "/api/v1/network", {"reachable": True}, hub.admin)
    assert (status, answer["reachable"]) == (200, True)
    assert address in answer["addresses"]
    assert reachable()
    held.request("GET", "/healthz")  # connections that were open go on
    assert held.getresponse().read()
    hub.stop()
    hub = start()
    assert hub.url.startswith("http://127.0.0.1:")
    assert reachable()
    remote = http.client.HTTPConnection(address, hub.port, timeout=PATIENCE_S)
    remote.request("GET", "/healthz")
    remote.getresponse().read()
    assert hub.ask("POST", "/api/v1/network", {"reachable": False}, hub.admin)[1]["reachable"] is False
    assert not reachable()
    remote.auto_open = 0
    assert not still_answers(remote)
    hub.stop()
    hub = start()
    assert not reachable()


@pytest.mark.fault
def test_no_secret_reaches_a_log_or_the_list_of_processes(start: Start, tmp_path: Path) -> None:
    database = tmp_path / "database-url"
    database.write_text(f"sqlite:///{tmp_path}/elsewhere.sqlite\n")
    database.chmod(0o600)
    hub = start("--database", f"@{database}")
    code = hub.ask("POST", "/api/v1/session-codes", {}, hub.admin)[1]["code"]
    canaries = {hub.admin.split("_")[2], code, "canary-in-a-name", "canary-alias"}
    hub.ask("GET", f"/login?code={code}")
    hub.ask("GET", f"/login?code={code}")
    hub.ask("GET", "/api/v1/models?search=canary-in-a-name", key=hub.admin)
    hub.ask(
        "POST", "/api/v1/servers/join", {"server_id": "x", "secret": "y", "alias": "canary-alias"}, hub.admin
    )
    hub.ask("GET", f"/api/v1/models/canary-in-a-name/{hub.admin}", key=hub.admin[:-1])
    hub.ask("POST", "/login", f"key={hub.admin}")
    arguments = Path(f"/proc/{hub.process.pid}/cmdline")
    seen = arguments.read_bytes().decode() if arguments.exists() else ""
    assert hub.stop() == 0
    text = hub.log.read_text() + seen
    assert not [canary for canary in canaries if canary in text]
    files = [path for path in hub.data.rglob("*") if path.is_file() and path.name != "admin.key"]
    assert not [p for p in files if hub.admin.split("_")[2].encode() in p.read_bytes()]


def test_a_database_url_with_a_password_is_never_repeated(tmp_path: Path) -> None:
    for url in (
        "postgresql://me:hunter2@127.0.0.1:1/none",
        "mysql://me:hunter2@x/y",
        "postgresql://me:hunter2@[:1/x",
    ):
        failed = run("hub", "--data", str(tmp_path / "hub"), "--port", "0", "--database", url)
        assert failed.returncode in (1, 2)
        assert "hunter2" not in failed.stdout + failed.stderr
        assert "Traceback" not in failed.stderr


@pytest.mark.postgresql
@pytest.mark.slow
def test_on_postgresql_a_hub_ends_when_it_lost_the_database_to_others(
    start: Start, postgresql_database: str, tmp_path: Path
) -> None:
    address = tmp_path / "database-url"
    address.write_text(postgresql_database)
    hub = start("--database", f"@{address}")
    assert hub.ask("GET", "/api/v1/servers", key=hub.admin) == (200, [])
    second = run("hub", "--data", str(tmp_path / "other"), "--port", "0", "--database", f"@{address}")
    assert second.returncode == 5
    url = make_url(postgresql_database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        connection.execute(f"SELECT pg_advisory_lock({HUB_LOCK_ID})")
        assert hub.process.wait(PATIENCE_S) == 1
    assert "start it again" in hub.log.read_text()


@pytest.mark.postgresql
@pytest.mark.slow
def test_on_postgresql_a_hub_ends_when_another_one_had_the_database_for_a_while(
    start: Start, postgresql_database: str, tmp_path: Path
) -> None:
    hub = start("--database", postgresql_database)
    url = make_url(postgresql_database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE hub_facts SET value = 'another one' WHERE name = 'hub_run'")
        connection.commit()
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    assert hub.process.wait(PATIENCE_S) == 1


@pytest.mark.postgresql
@pytest.mark.slow
def test_a_hub_survives_a_restart_of_postgresql(start: Start) -> None:
    try:
        with postgresql.own_server() as server:
            _survives_a_restart(start, server)
    except postgresql.NoPostgresqlError as reason:
        pytest.skip(str(reason))


def _wait_for_log(hub: RunningHub, text: str, times: int) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while hub.log.read_text().count(text) < times:
        assert hub.process.poll() is None, hub.log.read_text()
        assert time.monotonic() < give_up, hub.log.read_text()
        time.sleep(0.1)


def _survives_a_restart(start: Start, server: Any) -> None:
    hub = start("--database", server.url)
    body = {"payload": {"prompt": "a cat"}}
    status, made = hub.ask("POST", "/api/v1/jobs", body, key=hub.admin)
    assert status == 202
    for turn in (1, 2):
        server.stop()
        status, answer = hub.ask("GET", f"/api/v1/jobs/{made['job_id']}", key=hub.admin)
        assert (status, answer["error"]["code"]) == (503, "store_unavailable")
        _wait_for_log(hub, "goes on when the database is back", turn)
        server.start()
        _wait_for_log(hub, "The database is back", turn)
        assert hub.ask("GET", f"/api/v1/jobs/{made['job_id']}", key=hub.admin)[1]["state"] == "pending"
        assert hub.ask("POST", "/api/v1/jobs", body, key=hub.admin)[0] == 202
        second = run("hub", "--data", str(hub.data.parent / "2"), "--port", "0", "--database", server.url)
        assert second.returncode == 5, "the lock is held again"
    listed = hub.ask("GET", "/api/v1/jobs", key=hub.admin)[1]
    assert len(listed["jobs"]) == 3
    assert hub.stop() == 0
