"""Jobs under faults: races, frozen runners, and hosts that make another picture than the one asked for."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import Counter, defaultdict
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from stablequeue_hub.dispatch import finish
from stablequeue_hub.dispatch import runs as job_runs_module
from stablequeue_hub.dispatch.fair_queue import QueuedJob
from stablequeue_hub.jobs import rows as job_rows
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import events, job_pictures, job_requirements, job_runs, jobs

from ..fake_runner import DiskFile, FakeRunner, sha256_of

BOTH_DATABASES = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)
SEED = int(os.environ.get("STABLEQUEUE_TEST_SEED", "20261128"))
RACING_JOBS = int(os.environ.get("STABLEQUEUE_TEST_RACING_JOBS", "90"))
FREEZES = int(os.environ.get("STABLEQUEUE_TEST_FREEZES", "25"))
TRUTH_JOBS = int(os.environ.get("STABLEQUEUE_TEST_TRUTH_JOBS", "300"))
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
OTHER = ("checkpoint", "other.safetensors", "other checkpoint")
INK = ("lora", "ink.safetensors", "ink lora")
FILM = ("lora", "film.safetensors", "film lora")
FAULTS = (
    "none",
    "swapped",
    "swapped late",
    "removed late",
    "stale cache",
    "poisoned cache",
    "restored backup",
    "clash",
    "alias",
    "other checkpoint loaded",
)
TERMINAL = ("job_completed", "job_failed", "job_cancelled")


def payload(seed: int, prompt: str = "a cat <lora:ink:1>", checkpoint: str = "base") -> dict[str, Any]:
    title = {"sd_model_checkpoint": f"{checkpoint}.safetensors"}
    return {"prompt": prompt, "seed": seed, "override_settings": title}


def submit(hub: Any, body: dict[str, Any], *, key: str | None = None) -> str:
    answer = hub.request("POST", "/api/v1/jobs", key=key or hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def history(hub: Any) -> dict[str, list[str]]:
    """What happened to each job, in order."""
    found = defaultdict(list)
    with hub.hub.store.read() as connection:
        rows = connection.execute(sa.select(events.c.job_id, events.c.action).order_by(events.c.id))
        for job_id, action in rows:
            if job_id is not None:
                found[job_id].append(action)
    return found


def check_ends(hub: Any, ids: list[str]) -> Counter[str]:
    """Every job is there, ended once, and its state is that end."""
    told = history(hub)
    with hub.hub.store.read() as connection:
        states = {row[0]: row[1] for row in connection.execute(sa.select(jobs.c.job_id, jobs.c.state))}
    assert sorted(states) == sorted(ids)
    for job_id in ids:
        ends = [action for action in told[job_id] if action in TERMINAL]
        assert ends == [f"job_{states[job_id]}"], (job_id, told[job_id])
    return Counter(states.values())


def check_order(hub: Any) -> None:
    """Jobs of one submitter that nobody edited are started in the order of submission, on all servers
    together: each of these can run all of them. One for the checkpoint in memory may go before others, so it
    holds for those of one checkpoint. Whatever came later than a cancelled one was started after its end."""
    told = history(hub)
    with hub.hub.store.read() as connection:
        checkpoint = sa.select(job_requirements.c.sha256).where(
            job_requirements.c.payload_id == jobs.c.payload_id, job_requirements.c.role == "checkpoint"
        )
        query = sa.select(jobs.c.job_id, jobs.c.submitted_by, checkpoint.scalar_subquery())
        rows = connection.execute(query.order_by(jobs.c.seq)).all()
        said = connection.execute(sa.select(events.c.job_id, events.c.action).order_by(events.c.id)).all()
    lines: dict[tuple[str, str], list[str]] = defaultdict(list)
    line_of: dict[str, list[str]] = {}
    for job_id, submitter, sha256 in rows:
        if "job_edited" not in told[job_id]:
            line_of[job_id] = lines[submitter, sha256]
            line_of[job_id].append(job_id)
    assert len(lines) == 4, "two submitters, two checkpoints"
    for job_id, action in said:
        line = line_of.get(job_id, [])
        if action == "job_started" and line:
            assert line[0] == job_id, f"out of order: {line.index(job_id)} jobs came before it"
        if action in ("job_started", "job_cancelled") and job_id in line:
            line.remove(job_id)


# --- races ------------------------------------------------------------------------------------------------


def race(hub: Any, hosts: Any, count: int, limit_s: float = 120) -> Counter[str]:
    """16 servers ask at once, while jobs are cancelled and reordered; some ask twice for one question."""
    chance = random.Random(SEED)
    runners = [hosts.add(f"server {number}", BASE, OTHER, INK) for number in range(16)]
    keys = [hub.admin, hub.make_key("jobs")]
    named = [payload(number, checkpoint=chance.choice(["base", "other"])) for number in range(count)]
    ids = [submit(hub, {"payload": one}, key=chance.choice(keys)) for one in named]
    finished = asyncio.Event()

    async def ask(client: httpx.AsyncClient, method: str, path: str, key: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        return await client.request(method, path, headers=headers, **options)

    async def serve(client: httpx.AsyncClient, runner: Any) -> None:
        path, key = f"/api/v1/servers/{runner.server.server_id}/runner", runner.server.key
        question = {"runner_id": runner.runner_id, "others": True, "wait_s": 0}
        while not finished.is_set():
            if runner.webui.loaded is not None:
                question["loaded"] = sha256_of(runner.webui.loaded.content)
            twice = chance.random() < 0.2
            asked = [ask(client, "POST", f"{path}/next", key, json=question) for _ in range(1 + twice)]
            answers = await asyncio.gather(*asked)
            found = [answer.json() for answer in answers if answer.json() is not None]
            assert len({(job["job_id"], job["fence"]) for job in found}) <= 1
            if not found:
                await asyncio.sleep(0.005)
                continue
            job = found[0]
            data = runner.webui.generate(job["payload"])
            picture = f"{path}/jobs/{job['job_id']}/pictures/0?fence={job['fence']}"
            await ask(client, "PUT", picture, key, content=data)
            body = {"job_id": job["job_id"], "fence": job["fence"], "outcome": "done"}
            body["pictures"] = [hashlib.sha256(data).hexdigest()]
            await asyncio.gather(
                *(ask(client, "POST", f"{path}/finish", key, json=body) for _ in range(1 + twice))
            )

    async def disturb(client: httpx.AsyncClient) -> None:
        for job_id in chance.sample(ids, len(ids) // 3):
            if chance.random() < 0.6:
                await ask(client, "POST", f"/api/v1/jobs/{job_id}/cancel", hub.admin)
            else:
                body = {"priority": chance.randint(-3, 3)}
                await ask(client, "PATCH", f"/api/v1/jobs/{job_id}", hub.admin, json=body)
            await asyncio.sleep(0)

    async def all_of_it() -> None:
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383") as client:
            working = [asyncio.create_task(serve(client, runner)) for runner in runners]
            await disturb(client)
            while len(hub.hub.dispatcher._queue) or hub.hub.leases.all():
                await asyncio.sleep(0.02)
            finished.set()
            await asyncio.gather(*working)

    hub.run(asyncio.wait_for(all_of_it(), limit_s))
    ended = check_ends(hub, ids)
    assert set(ended) <= {"completed", "cancelled"}
    check_order(hub)
    with hub.hub.store.read() as connection:
        runs = Counter(connection.scalars(sa.select(job_runs.c.ended)))
        pictures = connection.scalar(sa.select(sa.func.count()).select_from(job_pictures))
    assert runs[None] == 0, "a job was handed over twice"
    assert runs["completed"] == pictures == ended["completed"]
    return ended


@BOTH_DATABASES
@pytest.mark.fault
def test_claims_cancels_and_ends_at_once_leave_every_job_with_one_end(hub: Any, hosts: Any) -> None:
    ended = race(hub, hosts, RACING_JOBS)
    assert ended["completed"] > RACING_JOBS / 2
    assert ended["cancelled"] > 0


@pytest.mark.fault
def test_the_same_race_is_lost_by_a_line_out_of_order(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueuedJob, "__lt__", lambda self, other: self.seq > other.seq)
    with pytest.raises(AssertionError, match="out of order"):
        race(hub, hosts, 24, limit_s=20)


class NoLock:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class AlwaysPending:
    """The reading before a hand-over, blind for the state."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def all(self, *arguments: Any) -> Any:
        return [("pending", *row[1:]) for row in self._real.all(*arguments)]


@pytest.mark.fault
def test_the_same_race_is_lost_without_compare_and_set(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.hub.dispatcher._lock = NoLock()
    whatever = jobs.update().where(jobs.c.job_id == sa.bindparam("this_job"))
    values = {"state": "processing", "server_id": sa.bindparam("this_server")}
    start = Prepared(
        whatever.values(**values, fence=sa.bindparam("new_fence"), changed_ms=sa.bindparam("now"))
    )
    monkeypatch.setattr(job_rows, "_START", start)
    monkeypatch.setattr(job_runs_module, "_JOB", AlwaysPending(job_runs_module._JOB))
    with pytest.raises((AssertionError, asyncio.TimeoutError)):
        race(hub, hosts, 60, limit_s=5)


def freeze(hub: Any, hosts: Any, count: int) -> None:
    """Frozen for 1 to 20 terms of its lease; meanwhile the job ran elsewhere, or still does."""
    chance = random.Random(SEED)
    frozen, other = hosts.add("frozen", BASE, INK), hosts.add("other", BASE, INK)
    for number in range(count):
        job_id = submit(hub, {"payload": payload(number), "targets": ["frozen", "other"]})
        frozen.runner_id = f"process {number}"
        other.runner_id = f"other {number}"
        while (old := frozen.next()) is None:
            hub.clock.advance(60)  # after three lost jobs in a row it gets none for ten minutes
        assert old["job_id"] == job_id
        data = frozen.webui.generate(old["payload"])
        assert frozen.send(old, 0, data).status_code == 200
        for _ in range(13 * chance.randint(1, 20)):
            hub.clock.advance(5)
            hub.run(hub.hub.dispatcher.sweep())
        new = other.next()
        assert (new["job_id"], new["fence"]) == (job_id, old["fence"] + 1)
        late = chance.random() < 0.5
        if late:
            assert other.work(new).json()["state"] == "completed"
        calls = [
            lambda: frozen.finish(old, [data]).status_code == 409,  # noqa: B023
            lambda: frozen.send(old, 0, data).status_code == 409,  # noqa: B023
            lambda: frozen.refuse(old, "busy").status_code == 409,
            lambda: not frozen.renew(old),
        ]
        chance.shuffle(calls)
        assert all(call() for call in calls)
        if not late:
            assert other.work(new).json()["state"] == "completed"
    with hub.hub.store.read() as connection:
        ids = list(connection.scalars(sa.select(jobs.c.job_id)))
    assert check_ends(hub, ids) == {"completed": count}


@BOTH_DATABASES
@pytest.mark.fault
def test_a_frozen_runner_that_comes_back_delivers_nothing(hub: Any, hosts: Any) -> None:
    freeze(hub, hosts, FREEZES)


@pytest.mark.fault
def test_the_same_runner_delivers_without_fencing(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = job_runs_module._run_rows
    monkeypatch.setattr(
        job_runs_module,
        "_run_rows",
        lambda connection, job_id, fence: [
            (*row[:5], fence) if row[4] != "processing" else (*row[:4], "processing", fence)
            for row in real(connection, job_id, fence)
        ],
    )
    with pytest.raises(AssertionError):
        freeze(hub, hosts, 5)


# --- the truth --------------------------------------------------------------------------------------------


class Truth:
    """Knows what each picture was really made with."""

    def __init__(self, hub: Any, hosts: Any, chance: random.Random) -> None:
        self.hub, self.hosts, self.chance = hub, hosts, chance
        self.runners = [
            hosts.add("forge", BASE, OTHER, INK, FILM),
            hosts.add("classic", BASE, OTHER, INK, FILM, family="classic"),
            hosts.add(
                "renamed",
                ("checkpoint", "sd/basis.safetensors", BASE[2]),
                OTHER,
                ("lora", "tusche.safetensors", INK[2]),
                FILM,
            ),
        ]
        self.right: dict[str, bool] = {}
        self.faults: Counter[str] = Counter()

    def work(self, runner: Any, job: dict[str, Any]) -> None:
        """One run with a fault, or none, and afterwards a sound disk again."""
        webui = runner.webui
        before = [DiskFile(one.kind, one.path, one.content) for one in webui.files]
        fault = self.chance.choice(FAULTS)
        self.faults[fault] += 1
        lora = next(one for one in webui.files if one.content == INK[2])
        base = next(one for one in webui.files if one.content == BASE[2])
        swapped = self.chance.choice([lora, base])
        late = lambda: None  # noqa: E731
        if fault == "swapped":
            swapped.content = "another content under the same name"
        elif fault == "swapped late":
            late = lambda: setattr(swapped, "content", "exchanged after the check")  # noqa: E731
        elif fault == "removed late":
            late = lambda: webui.files.remove(lora)  # noqa: E731
        elif fault == "stale cache":
            webui.hash_cache[swapped.kind, swapped.path] = "what lay there a year ago"
        elif fault == "poisoned cache":
            webui.hash_cache[swapped.kind, swapped.path] = swapped.content
            swapped.content = "another content, whose hash the cache does not know"
        elif fault == "restored backup":
            # Everything is as it was months ago, the host's cache too; the hub knows the newer files.
            for one in webui.files:
                webui.hash_cache[one.kind, one.path] = one.content = f"{one.content} of months ago"
        elif fault == "clash":
            late = lambda: webui.files.append(  # noqa: E731
                DiskFile("lora", f"z/{lora.path}", "another LoRA of the same name")
            )
        elif fault == "alias":
            webui.files.append(DiskFile("lora", "zz.safetensors", "another LoRA", lora.stem))
        elif fault == "other checkpoint loaded":
            webui.loaded = next(one for one in webui.files if one.content == OTHER[2])
        runner.work(job, between=late)
        self.right[job["job_id"]] = self._is_right(runner, job)
        webui.files = before
        webui.hash_cache.clear()
        webui.loaded = None
        self.hosts.tell(runner)

    def _is_right(self, runner: Any, job: dict[str, Any]) -> bool:
        webui, prompt = runner.webui, job["payload"]["prompt"]
        used = webui.find("lora", prompt.split("<lora:")[1].split(":")[0])
        assert webui.loaded is None or isinstance(webui.loaded.content, str)
        checkpoint = webui.loaded.content if webui.loaded else ""
        return checkpoint == BASE[2] and used is not None and used.content == INK[2]


def truth_of(hub: Any, hosts: Any, count: int) -> tuple[Truth, Counter[str]]:
    """Runs so many jobs. No wrong picture counts as completed, no right one as failed."""
    chance = random.Random(SEED)
    truth = Truth(hub, hosts, chance)
    left = count
    while left:
        part = min(left, 25)
        body = {"payload": payload(left), "count": part, "seed_rule": "increment"}
        hub.request("POST", "/api/v1/jobs", key=truth.runners[0].server.key, json=body).raise_for_status()
        left -= part
        for _ in range(2_000):
            runner = chance.choice(truth.runners)
            job = runner.next()
            if job is not None:
                truth.work(runner, job)
            else:
                hub.clock.advance(30)  # a server that makes wrong pictures rests for a while
            if not len(hub.hub.dispatcher._queue):
                break
    with hub.hub.store.read() as connection:
        found = connection.execute(sa.select(jobs.c.job_id, jobs.c.state)).all()
    assert len(found) == count
    wrong = [job_id for job_id, state in found if state == "completed" and not truth.right[job_id]]
    right = [job_id for job_id, state in found if state == "failed" and truth.right[job_id]]
    assert (wrong, right) == ([], []), truth.faults
    return truth, Counter(row.state for row in found)


@pytest.mark.fault
def test_no_wrong_picture_counts_and_no_right_one_fails(hub: Any, hosts: Any) -> None:
    """Files exchanged under the same name before and after the check, LoRAs removed after it, caches that are
    stale or poisoned, names that clash, a host that keeps another checkpoint."""
    truth, states = truth_of(hub, hosts, TRUTH_JOBS)
    assert states["completed"] > TRUTH_JOBS / 3, (states, truth.faults)
    assert states["failed"] > TRUTH_JOBS / 10, (states, truth.faults)
    assert states["pending"] < TRUTH_JOBS / 50, "refused five times"
    assert all(truth.faults[fault] > TRUTH_JOBS / 20 for fault in FAULTS), truth.faults


@pytest.mark.fault
@pytest.mark.parametrize("without", ["the check before the run", "the check after the run"])
def test_the_same_jobs_go_wrong_without(
    hub: Any, hosts: Any, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    if without == "the check after the run":
        monkeypatch.setattr(finish, "judge_run", lambda *_: [])
    else:
        monkeypatch.setattr(FakeRunner, "check", lambda *_: None)
        monkeypatch.setattr(FakeRunner, "_evidence", lambda *_: [])
    with pytest.raises(AssertionError):
        truth_of(hub, hosts, 60)
