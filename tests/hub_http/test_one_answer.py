"""The check, the reasons, the sentence, the page and the hand-over answer the same question: random
libraries, servers, jobs, decisions, exclusions and pauses, and all must agree about every server."""

from __future__ import annotations

import html
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from stablequeue_client.shared.wire.jobs import ReasonCode
from stablequeue_hub.background.tasks import fail_overdue_jobs
from stablequeue_hub.dispatch import dispatcher
from stablequeue_hub.matching import check
from stablequeue_hub.matching import why as reasons
from stablequeue_hub.matching.judge import Judge, ModelAnswer, NeedsAnswer
from stablequeue_hub.matching.read_judge import read_judge
from stablequeue_hub.store.tables import job_exclusions, jobs, models

from ..fake_runner import sha256_of
from .test_job_check import file, sha, tell
from .test_job_waiting import ask, can, why, write

ON_BOTH_DATABASES = True
ROUNDS = int(os.environ.get("STABLEQUEUE_TEST_SCENES", "75"))
"""Scenes for each seed and database; the long run has 2,500."""
ALIASES = ("attic", "cellar", "studio")
PATHS = ("ink.safetensors", "oil.safetensors", "sub/ink.safetensors", "tusche.safetensors")
CONTENTS = ("first", "second", "third")
CHECKPOINTS = ("base.safetensors", "sub/base.safetensors")


def library(chance: random.Random) -> list[Any]:
    """What a server has: files that were read, files that were not, some of which say what they are."""
    files = []
    for path in chance.sample(PATHS, chance.randint(0, 4)):
        content = chance.choice((*CONTENTS, None))
        claim = chance.choice(("", *CONTENTS)) if content is None else ""
        files.append(file(path, content, claim=claim))
    for path in chance.sample(CHECKPOINTS, chance.randint(0, 2)):
        files.append(file(path, chance.choice(("base", "other base")), kind="checkpoint"))
    return files


def wanted(chance: random.Random) -> dict[str, Any]:
    """A job as a page, a WebUI or a picture would give it."""
    names = chance.sample(("ink", "oil", "nothing"), chance.choice((0, 1, 1, 1, 2)))
    prompt = "".join(f"<lora:{name}:1>" for name in names)
    sampler = chance.choice(("Euler", "Euler", "Odd"))
    body: dict[str, Any] = {}
    if chance.random() < 0.4:
        hashes = ", ".join(f"{name}: {sha256_of(chance.choice(CONTENTS))[:12]}" for name in names)
        stated = f', Lora hashes: "{hashes}"' if names else ""
        body["infotext"] = f"{prompt}\nSteps: 1, Sampler: {sampler}, Seed: 1, Size: 64x64{stated}"
    else:
        body["payload"] = {"prompt": prompt, "sampler_name": sampler}
        if chance.random() < 0.6:
            body["payload"]["override_settings"] = {"sd_model_checkpoint": "base.safetensors"}
    if chance.random() < 0.4:
        body["server"] = chance.choice(ALIASES)
    if chance.random() < 0.3:
        body["targets"] = chance.sample(ALIASES, chance.randint(1, 2))
    return body


def decide(hub: Any, job_id: str, chance: random.Random) -> bool:
    """Somebody decides about one of the models. False when there is none to decide about."""
    job = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()
    if not job["requirements"]:
        return False
    body: dict[str, Any] = {"requirement": chance.randrange(len(job["requirements"]))}
    body |= chance.choice(
        (
            {"decision": "run_anyway", "server": chance.choice(ALIASES)},
            {"decision": "run_anyway"},
            {"decision": "not_a_model"},
        )
    )
    answer = hub.request("POST", f"/api/v1/jobs/{job_id}/decisions", key=hub.admin, json=body)
    return bool(answer.status_code == 200)


def offered(hub: Any, server: Any, *, others: bool = True) -> str | None:
    """The job that its runner gets when it asks now."""
    path = f"/api/v1/servers/{server.server_id}/runner/next"
    body = {"runner_id": "r", "others": others, "wait_s": 0}
    answer = hub.request("POST", path, key=server.key, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"] if answer.json() else None


class Scene:
    """Three servers, and what is said of a job for them."""

    def __init__(self, hub: Any, chance: random.Random) -> None:
        self.hub, self.chance = hub, chance
        self.servers = {alias: hub.join(alias) for alias in ALIASES}
        self.others: dict[str, bool] = {}
        """Of those with a WebUI that runs: whether its runner takes jobs of others now."""
        for alias, server in self.servers.items():
            self._begin(alias, server)
        write(hub, models.update().where(models.c.hash_sha256 == sha("base")).values(base_model="Flux.1 D"))

    def _begin(self, alias: str, server: Any) -> None:
        hub, chance = self.hub, self.chance
        away = ("lora",) if chance.random() < 0.15 else ()
        tell(hub, server, *library(chance), away=away, webui=False)
        if chance.random() < 0.1:
            return  # an agent alone
        can(
            hub,
            server,
            samplers=chance.choice((["Euler"], ["Euler", "Odd"])),
            architectures=chance.choice(([], ["sd1"], ["sd1", "flux"])),
            works_for_others=chance.choice(("always", "always", "always", "idle", "never")),
        )
        if chance.random() < 0.9:  # else StableQueue does not run there
            self.others[alias] = chance.random() < 0.9
            ask(hub, server, others=self.others[alias])

    def submit(self) -> tuple[str, dict[str, Any]]:
        """The job, and what the check says."""
        chance = self.chance
        key = self.servers[chance.choice(ALIASES)].key if chance.random() < 0.3 else self.hub.admin
        answer = self.hub.request("POST", "/api/v1/jobs", key=key, json=wanted(chance))
        assert answer.status_code == 202, answer.text
        return answer.json()["job_id"], answer.json()["check"]

    def happen(self, job_id: str) -> set[str]:
        """What changes where it can run while it waits; the kinds of it."""
        chance, hub, done = self.chance, self.hub, set()
        if chance.random() < 0.4 and decide(hub, job_id, chance):
            done.add("decided")
        if chance.random() < 0.25:
            row = {
                "job_id": job_id,
                "text": "so",
                "at_ms": 1,
                "reason": chance.choice(("refused", "failed", "lost")),
            }
            server = self.servers[chance.choice(ALIASES)]
            write(hub, job_exclusions.insert().values(**row, server_id=server.server_id, sequence=None))
            done.add("excluded")
        if chance.random() < 0.15:
            server = self.servers[chance.choice(ALIASES)]
            path = f"/api/v1/queue/servers/{server.server_id}/pause"
            assert hub.request("POST", path, key=hub.admin).status_code == 200
            done.add("paused")
        if chance.random() < 0.05:
            assert hub.request("POST", "/api/v1/queue/pause", key=hub.admin).status_code == 200
            done.add("queue paused")
        if chance.random() < 0.05:
            write(hub, jobs.update().where(jobs.c.job_id == job_id).values(refusals=5))
            done.add("refused often")
        return done

    def able(self, job_id: str) -> set[str]:
        """Who can run it, by the reasons; the sentence and the page must say the same."""
        sentence, reasons = why(self.hub, job_id)
        able = {alias for alias, codes in reasons.items() if not codes}
        assert sentence.startswith("Next in line on ") is bool(able), (sentence, reasons)
        assert all(alias in sentence for alias in able), (sentence, reasons)
        page = self.hub.request("GET", "/views/queue", key=self.hub.admin).text
        assert html.escape(sentence, quote=False) in page.replace("&#39;", "'"), sentence
        return able

    def hand_over(self, job_id: str, able: set[str]) -> None:
        """The runners ask, in any order, until one gets it."""
        for alias in self.chance.sample(sorted(self.others), len(self.others)):
            got = offered(self.hub, self.servers[alias], others=self.others[alias])
            assert (got == job_id) is (alias in able), (alias, *why(self.hub, job_id))
            if got:
                return

    def end(self, job_id: str) -> None:
        hub = self.hub
        hub.request("POST", f"/api/v1/jobs/{job_id}/cancel", key=hub.admin)
        hub.request("POST", "/api/v1/queue/resume", key=hub.admin)
        for server in self.servers.values():
            path = f"/api/v1/servers/{server.server_id}"
            assert hub.request("DELETE", path, key=hub.admin).status_code == 204


def one_scene(hub: Any, chance: random.Random) -> tuple[int, set[str]]:
    """How many servers can run the job in the end, and what happened meanwhile."""
    scene = Scene(hub, chance)
    job_id, checked = scene.submit()
    at_first = scene.able(job_id)
    targets = {server["alias"] for server in checked["servers"]}
    assert {server["alias"] for server in checked["servers"] if server["ok"]} == at_first & targets, checked
    assert at_first <= targets
    done = scene.happen(job_id)
    able = scene.able(job_id)
    if chance.random() < 0.05:
        write(hub, jobs.update().where(jobs.c.job_id == job_id).values(deadline_ms=hub.clock.now_ms() - 1))
        hub.run(fail_overdue_jobs(hub.hub))
        assert why(hub, job_id) == ("", {})
        able, done = set(), {*done, "overdue"}
    scene.hand_over(job_id, able)
    scene.end(job_id)
    return len(able), done


@pytest.mark.parametrize("seed", range(2))
def test_all_answers_agree(hub: Any, seed: int) -> None:
    chance = random.Random(seed)
    scenes = [one_scene(hub, chance) for _ in range(ROUNDS)]
    assert {able for able, _ in scenes} == {0, 1, 2, 3}
    happened = set().union(*(done for _, done in scenes))
    assert happened >= {"decided", "excluded", "paused", "queue paused", "refused often"}


def _without(code: ReasonCode) -> Callable[..., Any]:
    """A judge that forgets one rule."""

    class Forgetful(Judge):
        def of_needs(self, needs: Any) -> NeedsAnswer:
            answer = super().of_needs(needs)
            models = [self._forgotten(one) for one in answer.models]
            besides = {one: servers for one, servers in answer.besides.items() if one.code != code}
            return NeedsAnswer(models, besides, self.everyone)

        def _forgotten(self, one: ModelAnswer) -> ModelAnswer:
            kept = {hindrance: servers for hindrance, servers in one.hindered.items() if hindrance != code}
            gone = self.everyone - one.having if code == one.otherwise else one.of(code)
            return ModelAnswer(one.usable | gone, kept, one.otherwise)

    return Forgetful


def _read_without(code: ReasonCode) -> Callable[..., Any]:
    def read(connection: Any, needs: Any, servers: Any) -> Judge:
        made = read_judge(connection, needs, servers)
        made.__class__ = _without(code)
        return made

    return read


OF_NEEDS: tuple[ReasonCode, ...] = (
    "architecture_unsupported",
    "sampler_missing",
    "model_name_shared",
    "model_unhashed",
    "model_unreachable",
)
LEFT_OUT: dict[str, tuple[Any, str, Any]] = {
    # of models the hand-over can forget none: it takes the file of each from the stock
    **{f"the hand-over: {code}": (dispatcher, "Judge", _without(code)) for code in OF_NEEDS[:2]},
    "the hand-over: consent and pauses": (dispatcher, "server_obstacles", lambda *_, **__: []),
    **{f"the reasons: {code}": (reasons, "read_judge", _read_without(code)) for code in OF_NEEDS},
    "the reasons: model_missing": (reasons, "read_judge", _read_without("model_missing")),
    **{f"the check: {code}": (check, "read_judge", _read_without(code)) for code in OF_NEEDS},
    "the check: model_missing": (check, "read_judge", _read_without("model_missing")),
}


@pytest.mark.fault
@pytest.mark.parametrize("rule", LEFT_OUT)
def test_a_rule_left_out_in_one_answer_is_seen(
    hub: Any, rule: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(*LEFT_OUT[rule])
    chance = random.Random(7)
    with pytest.raises(AssertionError):
        all(one_scene(hub, chance) for _ in range(400))
    assert "while answering" not in caplog.text, "the rule left out broke the answer instead of changing it"
