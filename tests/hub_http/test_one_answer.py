"""The check, the reasons, the sentence and the hand-over answer the same question in four places: random
libraries, jobs and decisions, and all four must agree about every server."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ..fake_runner import sha256_of
from .test_job_check import file, tell
from .test_job_waiting import ask, can, why

ON_BOTH_DATABASES = True
ROUNDS = 20
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
    if chance.random() < 0.5:
        body |= {"decision": "run_anyway", "server": chance.choice(ALIASES)}
    else:
        body |= {"decision": "not_a_model"}
    answer = hub.request("POST", f"/api/v1/jobs/{job_id}/decisions", key=hub.admin, json=body)
    return bool(answer.status_code == 200)


def offered(hub: Any, server: Any) -> str | None:
    """The job that its runner gets when it asks now."""
    path = f"/api/v1/servers/{server.server_id}/runner/next"
    body = {"runner_id": "r", "others": True, "wait_s": 0}
    answer = hub.request("POST", path, key=server.key, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"] if answer.json() else None


def one_scene(hub: Any, chance: random.Random) -> tuple[int, bool]:
    """Servers, a job, and the four answers. How many servers can run it, and whether somebody decided."""
    servers = {alias: hub.join(alias) for alias in ALIASES}
    for server in servers.values():
        away = ("lora",) if chance.random() < 0.15 else ()
        tell(hub, server, *library(chance), away=away)
        can(hub, server, samplers=chance.choice((["Euler"], ["Euler", "Odd"])))
        ask(hub, server)
    body = wanted(chance)
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    job_id, check = answer.json()["job_id"], answer.json()["check"]
    decided = chance.random() < 0.3 and decide(hub, job_id, chance)
    sentence, reasons = why(hub, job_id)
    able = {alias for alias, codes in reasons.items() if not codes}
    if not decided:
        assert {server["alias"] for server in check["servers"] if server["ok"]} == able, (body, reasons)
    assert sentence.startswith("Next in line on ") is bool(able), (body, sentence, reasons)
    assert all((alias in sentence) for alias in able), (sentence, reasons)
    order = chance.sample(ALIASES, len(ALIASES))
    for alias in order:
        got = offered(hub, servers[alias])
        assert (got == job_id) is (alias in able), (body, alias, sentence, reasons)
        if got:
            break
    hub.request("POST", f"/api/v1/jobs/{job_id}/cancel", key=hub.admin)
    for server in servers.values():
        path = f"/api/v1/servers/{server.server_id}"
        assert hub.request("DELETE", path, key=hub.admin).status_code == 204
    return len(able), decided


@pytest.mark.parametrize("seed", range(2))
def test_check_reasons_sentence_and_hand_over_agree(hub: Any, seed: int) -> None:
    chance = random.Random(seed)
    scenes = [one_scene(hub, chance) for _ in range(ROUNDS)]
    assert {able for able, _ in scenes} == {0, 1, 2, 3}
    assert any(decided for _, decided in scenes)
