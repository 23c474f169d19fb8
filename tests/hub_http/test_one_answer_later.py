"""What becomes known, fails or is taken back while a job waits: the reasons and the hand-over still agree."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.generation.requirements import generation_requirements
from stablequeue_client.shared.wire.jobs import JobCheck
from stablequeue_client.webui.prompt_line.target_check import names_alone, sampling, target_words
from stablequeue_hub.background.tasks import fail_overdue_jobs
from stablequeue_hub.dispatch import dispatcher, runs
from stablequeue_hub.store.tables import job_exclusions, jobs

from .test_job_check import file, sha, tell
from .test_job_waiting import ask, can, submit, why, write
from .test_one_answer import offered

ON_BOTH_DATABASES = True
INK = {"prompt": "<lora:ink:1>"}
BASE = {"prompt": "", "override_settings": {"sd_model_checkpoint": "base.safetensors"}}


class DatabaseBusyError(StableQueueError):
    code = "busy"
    http_status = 503


def fail(*_: Any, **__: Any) -> Any:
    raise DatabaseBusyError("The database is busy.")


@pytest.fixture
def attic(hub: Any) -> Any:
    """A server that has ink, and takes jobs of all."""
    server = hub.join("attic")
    tell(hub, server, file("ink.safetensors", "ink"))
    return server


def minutes_pass(hub: Any, server: Any) -> None:
    """Everything is done that the hub does by itself."""
    for number in range(6):
        hub.clock.advance(61)
        hub.beat(server, "boot", 100 + number)
        hub.run(hub.hub.dispatcher.sweep())


def test_what_a_checkpoint_is_becomes_known_later(hub: Any) -> None:
    attic = hub.join("attic")
    tell(hub, attic, file("base.safetensors", "base", kind="checkpoint"))
    can(hub, attic, architectures=["sd1"])
    job = submit(hub, BASE)
    path = f"/api/v1/models/{sha('base')}/metadata"
    told = hub.request("PUT", path, key=attic.key, json={"modelspec.architecture": "flux-1-dev"})
    assert told.json() == {"stored": True}
    assert why(hub, job)[1] == {"attic": ["architecture_unsupported"]}
    assert offered(hub, attic) is None


def test_a_frozen_server_gets_jobs_again_once_it_is_thawed(hub: Any, attic: Any) -> None:
    for boot, number in (("a", 10), ("b", 1), ("a", 12), ("b", 2), ("a", 13), ("b", 3), ("a", 14)):
        hub.beat(attic, boot, number)
    hub.run(hub.hub.flush())
    job = submit(hub, INK)
    hub.run(hub.hub.dispatcher.jobs_changed([]))
    assert why(hub, job)[1] == {"attic": ["server_frozen"]}
    thawed = hub.request("POST", f"/api/v1/servers/{attic.server_id}/thaw", key=hub.admin)
    assert thawed.status_code == 200
    assert why(hub, job)[1] == {"attic": []}
    assert offered(hub, attic) == job


@pytest.mark.parametrize(("room", "step"), [(dispatcher, "changed_names"), (runs, "may_readmit")])
def test_a_sync_after_which_the_database_failed_is_made_up_for(
    hub: Any, room: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hub.join("attic")
    tell(hub, server)
    can(hub, server)
    ask(hub, server)
    job = submit(hub, INK)
    with monkeypatch.context() as patch:
        patch.setattr(room, step, fail)
        tell(hub, server, file("ink.safetensors", "ink"), sequence=2)
    minutes_pass(hub, server)
    assert offered(hub, server) == job, why(hub, job)


def test_a_forgotten_server_does_not_come_back_with_the_end_of_its_run(hub: Any, attic: Any) -> None:
    job = submit(hub, INK)
    assert offered(hub, attic) == job
    assert hub.request("DELETE", f"/api/v1/servers/{attic.server_id}", key=hub.admin).status_code == 204
    for _ in range(4):
        hub.clock.advance(100)
        hub.run(hub.hub.dispatcher.sweep())
    assert hub.hub.dispatcher._polling.find(attic.server_id) is None


def test_whoever_queues_in_a_webui_ends_its_cooldown_before_the_answer(hub: Any, attic: Any) -> None:
    hub.hub.dispatcher._polling.start_cooldown(attic.server_id, 600)
    answer = hub.request("POST", "/api/v1/jobs", key=attic.key, json={"payload": INK}).json()
    assert answer["check"]["possible"] is True
    assert offered(hub, attic) == answer["job_id"]


def test_each_server_has_another_model_that_is_not_read_yet(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, attic, file("ink.safetensors", "ink"), file("oil.safetensors", None, claim="oil"), sequence=2)
    tell(hub, studio, file("oil.safetensors", "oil"), file("ink.safetensors", None, claim="ink"))
    job = submit(hub, {"prompt": "<lora:ink:1><lora:oil:1>"})
    sentence, codes = why(hub, job)
    assert codes == {"attic": ["model_unhashed"], "studio": ["model_unhashed"]}
    assert sentence == "Waits for oil, which has to be read first on attic"
    waiting = hub.request("GET", "/api/v1/queue/waiting", key=hub.admin).json()
    assert job in [job_id for group in waiting["groups"] for job_id in group["job_ids"]]
    write(hub, jobs.update().values(deadline_ms=hub.clock.now_ms() - 1))
    hub.run(fail_overdue_jobs(hub.hub))
    ended = hub.request("GET", f"/api/v1/jobs/{job}", key=hub.admin).json()
    assert "oil" in ended["failure_text"]
    assert "In line" not in ended["failure_text"]


def test_a_computer_with_an_address_alone_is_no_place_in_line(hub: Any) -> None:
    body = {"alias": "cellar", "apiUrl": "http://10.0.0.9:7860"}
    assert hub.request("POST", "/api/v1/servers", key=hub.admin, json=body).status_code < 300
    attic = hub.join("attic")
    tell(hub, attic, webui=False)
    can(hub, attic, works_for_others="never")
    ask(hub, attic)
    sentence, codes = why(hub, submit(hub, {"prompt": "a cat"}))
    assert all(codes.values())
    assert "in line" not in sentence.lower()


def test_a_name_with_two_meanings_is_not_called_missing_where_it_lies(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, attic, file("ink.safetensors", "one"), file("oil.safetensors", "oil"), sequence=2)
    tell(hub, studio, file("ink.safetensors", "two"))
    job = submit(hub, {"prompt": "<lora:ink:1><lora:oil:1>"})
    decision = {"requirement": 0, "decision": "run_anyway", "server": "studio"}
    path = f"/api/v1/jobs/{job}/decisions"
    assert hub.request("POST", path, key=hub.admin, json=decision).status_code == 200
    sentence, codes = why(hub, job)
    assert codes["attic"] == ["model_ambiguous"]
    assert not sentence.startswith("Waits for ink on attic, which has everything else")


def test_a_server_that_failed_at_a_job_could_not_run_it_once_the_model_is_there(hub: Any, attic: Any) -> None:
    job = submit(hub, {"prompt": "<lora:oil:1>"})
    other = submit(hub, {"prompt": "<lora:oil:1>"})
    failed = {"job_id": job, "text": "so", "at_ms": 1, "reason": "failed", "sequence": None}
    write(hub, job_exclusions.insert().values(**failed, server_id=attic.server_id))
    (group,) = hub.request("GET", "/api/v1/queue/waiting", key=hub.admin).json()["groups"]
    assert (group["jobs"], [place["could_run"] for place in group["places"]]) == (2, [True])
    assert hub.request("POST", f"/api/v1/jobs/{other}/cancel", key=hub.admin).status_code == 200
    (group,) = hub.request("GET", "/api/v1/queue/waiting", key=hub.admin).json()["groups"]
    assert (group["jobs"], [place["could_run"] for place in group["places"]]) == (1, [False])
    assert why(hub, job)[1] == {"attic": ["excluded_failed", "model_missing"]}


def test_the_old_contract_says_the_place_as_everybody_else(hub: Any, attic: Any) -> None:
    submit(hub, INK)
    job = submit(hub, INK)
    old = hub.request("GET", f"/api/v1/queue/jobs/{job}/status", key=hub.admin).json()
    assert old["waiting_for"] == why(hub, job)[0] == "In line for attic, 1 job before it"


def test_the_line_under_generate_knows_what_a_webui_cannot_sample_with(hub: Any, attic: Any) -> None:
    """Its question names models and samplers alone; the answer is that of the job's own check."""
    studio = hub.join("studio")
    tell(hub, studio, file("ink.safetensors", "ink"))
    for server in (attic, studio):
        can(hub, server, samplers=["Euler"])
    values = {**INK, "sampler_name": "Odd"}
    asked = {"payload": {**names_alone(generation_requirements(values)), **sampling(values)}}
    answer = hub.request("POST", "/api/v1/jobs/check", key=attic.key, json=asked).json()
    said = target_words(msgspec.convert(answer, JobCheck), "")
    assert said is not None
    assert (said.tone, said.text) == ("warn", "Queued, it waits: no server can make it now.")
    job = submit(hub, values, key=attic.key)
    assert why(hub, job)[1] == {"attic": ["sampler_missing"], "studio": ["sampler_missing"]}


def test_embeddings_of_a_forgotten_server_are_still_needed(hub: Any, attic: Any) -> None:
    embeddings = [file(f"{name}.pt", name, kind="embedding") for name in ("en", "easynegative")]
    tell(hub, attic, *embeddings, sequence=2)
    studio, cellar = hub.join("studio"), hub.join("cellar")
    tell(hub, studio, file("ink.safetensors", "ink"))
    tell(hub, cellar, *embeddings)
    job = submit(hub, {"prompt": "a cat", "negative_prompt": "en, easynegative"}, key=attic.key)
    assert hub.request("DELETE", f"/api/v1/servers/{attic.server_id}", key=hub.admin).status_code == 204
    without = {"cellar": [], "studio": ["model_missing", "model_missing"]}
    assert why(hub, job)[1] == without
    again = hub.request("POST", f"/api/v1/jobs/{job}/again", key=hub.admin, json={}).json()
    assert why(hub, again["job_id"])[1] == without
    assert hub.request("PATCH", f"/api/v1/jobs/{job}", key=hub.admin, json={"steps": 7}).status_code == 200
    assert why(hub, job)[1] == without
    assert offered(hub, studio) is None


def checked(answer: dict[str, Any]) -> dict[str, list[str]]:
    """The codes of each server by its alias, as a check gives them."""
    return {
        server["alias"]: [one["code"] for one in server["reasons"]] for server in answer["check"]["servers"]
    }


def test_the_answer_to_an_edit_and_to_a_repetition_speaks_of_the_job_as_it_is_queued(
    hub: Any, attic: Any
) -> None:
    """What was decided, what its names were found to mean, and which server failed with it."""
    studio, cellar = hub.join("studio"), hub.join("cellar")
    for server in (studio, cellar):
        tell(hub, server, file("ink.safetensors", "ink"))
    body = {"payload": {"prompt": "<lora:ink:1><lora:oil:1>"}, "idempotency_key": "once"}
    job = hub.request("POST", "/api/v1/jobs", key=attic.key, json=body).json()["job_id"]
    decision = {"requirement": 1, "decision": "run_anyway"}
    path = f"/api/v1/jobs/{job}/decisions"
    assert hub.request("POST", path, key=hub.admin, json=decision).status_code == 200
    tell(hub, attic, file("ink.safetensors", "another"), sequence=2)
    failed = {"job_id": job, "text": "so", "at_ms": 1, "reason": "failed", "sequence": None}
    write(hub, job_exclusions.insert().values(**failed, server_id=cellar.server_id))
    said = {"attic": ["model_missing"], "cellar": ["excluded_failed"], "studio": []}
    assert why(hub, job)[1] == said
    repeated = hub.request("POST", "/api/v1/jobs", key=attic.key, json=body).json()
    assert (repeated["repeated"], checked(repeated)) == (True, said)
    edited = hub.request("PATCH", f"/api/v1/jobs/{job}", key=hub.admin, json={"priority": 1}).json()
    assert checked(edited) == said
    edited = hub.request("PATCH", f"/api/v1/jobs/{job}", key=hub.admin, json={"steps": 7}).json()
    assert checked(edited) == why(hub, job)[1]
    assert edited["check"]["possible"] is True
    again = {"idempotency_key": "again"}
    once, twice = (
        hub.request("POST", f"/api/v1/jobs/{job}/again", key=hub.admin, json=again).json() for _ in range(2)
    )
    assert (twice["repeated"], checked(twice)) == (True, why(hub, once["job_id"])[1])


def test_what_was_decided_for_a_computer_with_an_address_counts_once_it_joined(hub: Any, attic: Any) -> None:
    body = {"alias": "cellar", "apiUrl": "http://10.0.0.9:7860"}
    assert hub.request("POST", "/api/v1/servers", key=hub.admin, json=body).status_code < 300
    job = submit(hub, {"prompt": "<lora:oil:1>"})
    decision = {"requirement": 0, "decision": "run_anyway", "server": "cellar"}
    path = f"/api/v1/jobs/{job}/decisions"
    assert hub.request("POST", path, key=hub.admin, json=decision).status_code == 200
    cellar = hub.join("cellar")
    tell(hub, cellar, webui=False)
    can(hub, cellar)
    assert why(hub, job)[1] == {"attic": ["model_missing"], "cellar": ["no_runner"]}
    assert offered(hub, cellar) == job


def test_the_form_from_a_job_speaks_of_its_servers_that_are_still_known(hub: Any, attic: Any) -> None:
    """Also where it was written on one that was forgotten."""
    studio, cellar = hub.join("studio"), hub.join("cellar")
    for server in (studio, cellar):
        tell(hub, server, file("ink.safetensors", "ink"))
    job = submit(hub, INK, key=attic.key, targets=["attic", "studio"])
    for servers in (["attic", "studio"], ["studio"]):
        page = hub.request("GET", f"/views/new?from={job}", key=hub.admin)
        assert page.status_code == 200, page.text
        said = re.sub("<[^>]*>", "", page.text)
        assert f"{', '.join(servers)} can make it." in said
        if "attic" in servers:
            path = f"/api/v1/servers/{attic.server_id}"
            assert hub.request("DELETE", path, key=hub.admin).status_code == 204
    form = {"from_job": job, "prompt": INK["prompt"], "targets": studio.server_id}
    made = hub.request("POST", "/views/new/queue", key=hub.admin, data=form)
    assert made.status_code == 200, made.text
    again = made.headers["x-stablequeue-go"].rpartition("id=")[2]
    assert why(hub, again)[1] == {"cellar": ["not_a_target"], "studio": []}


def test_a_form_saved_for_another_reason_leaves_a_job_to_the_servers_it_was_for(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, studio, file("ink.safetensors", "ink"))
    job = submit(hub, INK, targets=["studio"])
    assert hub.request("DELETE", f"/api/v1/servers/{studio.server_id}", key=hub.admin).status_code == 204
    page = hub.request("GET", f"/views/job/{job}", key=hub.admin).text
    chosen = re.findall('name="targets" value="([^"]*)" checked', page)
    form = {**INK, "steps": "7", "targets": chosen}
    path = f"/views/jobs/{job}/edit"
    assert hub.request("POST", path, key=hub.admin, data=form).status_code == 200
    assert why(hub, job) == ("Its target is gone", {"attic": ["not_a_target"]})
    form["targets"] = [*chosen, attic.server_id]
    assert hub.request("POST", path, key=hub.admin, data=form).status_code == 200
    assert why(hub, job) == ("Next in line on attic", {"attic": []})


def test_what_was_decided_for_one_server_can_still_be_decided_for_all(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, studio)
    job = submit(hub, {"prompt": "<lora:oil:1>"})
    decision = {"requirement": 0, "decision": "run_anyway", "server": "studio"}
    path = f"/api/v1/jobs/{job}/decisions"
    assert hub.request("POST", path, key=hub.admin, json=decision).status_code == 200
    assert hub.request("DELETE", f"/api/v1/servers/{studio.server_id}", key=hub.admin).status_code == 204
    assert why(hub, job)[1] == {"attic": ["model_missing"]}
    assert 'id="sq-decision-0"' in hub.request("GET", f"/views/job/{job}", key=hub.admin).text
