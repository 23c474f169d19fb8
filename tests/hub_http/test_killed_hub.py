"""The hub is killed at any instant while servers work: no job is lost, none runs to an end twice."""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from stablequeue_hub.store.engine import open_store
from stablequeue_hub.store.tables import events, job_pictures, job_runs, jobs

from ..fake_runner import DiskFile, FakeRunner, FakeWebUI
from ..free_ports import free_port

KILLS = int(os.environ.get("STABLEQUEUE_TEST_HUB_KILLS", "5"))
SEED = int(os.environ.get("STABLEQUEUE_TEST_SEED", "20261128"))
JOBS = 6 * KILLS
PATIENCE_S = 90
FILES = (("checkpoint", "base.safetensors", "base"), ("lora", "ink.safetensors", "ink lora"))
CHECKOUT = Path(__file__).parents[2]


class KilledHub:
    """A real hub that keeps its port."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self.data = folder / "data"
        self.database = database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "hub.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.data / "hub.json").unlink(missing_ok=True)
        words = [sys.executable, "-m", "stablequeue_hub", "hub", "--data", str(self.data)]
        words += ["--port", str(self.port)]
        if self.database:
            words += ["--database", self.database]
        with self._log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
        until = time.monotonic() + PATIENCE_S
        while not (self.data / "hub.json").exists():
            assert self._process.poll() is None, self._log.read_text()[-2_000:]
            assert time.monotonic() < until
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def admin(self) -> str:
        return (self.data / "admin.key").read_text().strip()


class Answer:
    """What ``FakeRunner`` wants of an answer."""

    def __init__(self, answer: requests.Response) -> None:
        self.status_code, self.text = answer.status_code, answer.text
        self.json = answer.json


def asking(hub: KilledHub, key: str, gave_up: threading.Event) -> Any:
    """Asks the hub until it answers: a killed one is back in a moment."""
    session = requests.Session()

    def call(method: str, path: str, **options: Any) -> Answer:
        data = options.pop("content", None)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = session.request(
                    method,
                    hub.url + path,
                    data=data,
                    headers={"Authorization": f"Bearer {key}"},
                    timeout=30,
                    **options,
                )
                if answer.status_code < 500 and answer.status_code != 429:
                    return Answer(answer)
            except requests.RequestException:
                session.close()
            if gave_up.is_set() or time.monotonic() > until:
                raise AssertionError(f"{method} {path} was not answered.")
            time.sleep(0.02)

    return call


def join(hub: KilledHub, alias: str, done: threading.Event) -> FakeRunner:
    """A server that joined, has told what it has, and asks for jobs."""
    server_id, secret = secrets.token_hex(16), secrets.token_hex(32)
    admin = asking(hub, hub.admin, done)
    body = {"server_id": server_id, "secret": secret, "alias": alias}
    assert admin("POST", "/api/v1/servers/join", json=body).status_code == 200
    call = asking(hub, f"sq_{server_id}_{secret}", done)
    webui = FakeWebUI(files=[DiskFile(*file) for file in FILES])
    capabilities = {"webui": "forge", "works_for_others": "always"}
    path = f"/api/v1/servers/{server_id}"
    assert call("PUT", f"{path}/capabilities", json=capabilities).status_code == 204
    assert call("POST", f"{path}/models/sync", json=webui.inventory()).status_code == 200
    return FakeRunner(webui, call, server_id, runner_id=alias)


def work(runner: FakeRunner, done: threading.Event, failures: list[BaseException]) -> None:
    while not done.is_set():
        try:
            job = runner.next(wait_s=0.5)
            if job is not None:
                time.sleep(random.uniform(0, 0.05))
                runner.work(job)
        except BaseException as error:
            if not done.is_set():
                failures.append(error)
            return


def submit(hub: KilledHub, done: threading.Event, acknowledged: list[str]) -> None:
    """Each job once, however often it has to be sent."""
    call = asking(hub, hub.admin, done)
    title = {"sd_model_checkpoint": "base.safetensors"}
    for number in range(JOBS):
        payload = {"prompt": "a cat <lora:ink:1>", "seed": number, "override_settings": title}
        body = {"payload": payload, "idempotency_key": f"job {number}"}
        answer = call("POST", "/api/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        acknowledged.append(answer.json()["job_id"])
        time.sleep(0.02)


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_no_acknowledged_job_is_lost_and_none_ends_twice(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(SEED)
    database = request.getfixturevalue("postgresql_database") if kind == "postgresql" else None
    hub = KilledHub(tmp_path, database)
    hub.start()
    done = threading.Event()
    acknowledged: list[str] = []
    failures: list[BaseException] = []
    threads = []
    try:
        runners = [join(hub, f"server {number}", done) for number in range(3)]
        threads = [threading.Thread(target=work, args=(one, done, failures)) for one in runners]
        threads.append(threading.Thread(target=submit, args=(hub, done, acknowledged)))
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.6))
            hub.kill()
            hub.start()
        threads[-1].join(PATIENCE_S)
        asking_all = asking(hub, hub.admin, done)
        until = time.monotonic() + PATIENCE_S
        while asking_all("GET", "/api/v1/jobs?state=completed&limit=1").json()["total"] < JOBS:
            assert time.monotonic() < until, asking_all("GET", "/api/v1/jobs?limit=200").text
            assert not failures, failures
            time.sleep(0.1)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        hub.kill()
    assert len(set(acknowledged)) == JOBS
    check(tmp_path, database, acknowledged)


def check(folder: Path, database: str | None, acknowledged: list[str]) -> None:
    """One end for each job, one picture, no hand-over left open."""
    store = open_store(database, folder / "data")
    with store.read() as connection:
        found = connection.execute(sa.select(jobs.c.job_id, jobs.c.state))
        states = {row.job_id: row.state for row in found}
        ended = Counter(
            connection.scalars(sa.select(events.c.job_id).where(events.c.action == "job_completed"))
        )
        runs = Counter(connection.scalars(sa.select(job_runs.c.ended)))
        pictures = list(connection.scalars(sa.select(job_pictures.c.file)))
    store.close()
    assert states == dict.fromkeys(acknowledged, "completed")
    assert ended == dict.fromkeys(acknowledged, 1)
    assert runs["completed"] == len(pictures) == len(acknowledged)
    assert runs[None] == 0
    assert all((folder / "data" / "pictures" / file).stat().st_size > 0 for file in pictures), json.dumps(
        pictures
    )
