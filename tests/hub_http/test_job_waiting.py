"""Why a job waits: for each server, and as one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from stablequeue_hub.store.tables import hub_facts, job_exclusions, job_requirements, jobs, models, servers

from .test_job_check import file, sha, tell

ON_BOTH_DATABASES = True
INK = {"prompt": "a cat <lora:ink:1>"}
ASKS = {"runner_id": "r", "others": True, "wait_s": 0}


def submit(hub: Any, payload: dict[str, Any], *, key: str | None = None, **options: Any) -> str:
    body = {"payload": payload, **options}
    answer = hub.request("POST", "/api/v1/jobs", key=key or hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def why(hub: Any, job_id: str) -> tuple[str, dict[str, list[str]]]:
    """The sentence, and the codes of each server by its alias."""
    answer = hub.request("GET", f"/api/v1/jobs/{job_id}/why", key=hub.admin)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    codes = {one["alias"]: [reason["code"] for reason in one["reasons"]] for one in found["servers"]}
    assert [one["ok"] for one in found["servers"]] == [not one["reasons"] for one in found["servers"]]
    return found["waiting_for"], codes


def write(hub: Any, statement: Any) -> None:
    with hub.hub.store.write() as connection:
        connection.execute(statement)
    hub.run(hub.hub.dispatcher.jobs_changed([]))


def can(hub: Any, server: Any, **says: Any) -> None:
    body = {"webui": "forge", "works_for_others": "always", **says}
    path = f"/api/v1/servers/{server.server_id}/capabilities"
    assert hub.request("PUT", path, key=server.key, json=body).status_code == 204


def ask(hub: Any, server: Any, *, others: bool = True) -> None:
    """Its runner asks for a job, and does not wait."""
    body = {"runner_id": "r", "others": others, "wait_s": 0}
    path = f"/api/v1/servers/{server.server_id}/runner/next"
    answer = hub.request("POST", path, key=server.key, json=body)
    assert (answer.status_code, answer.json()) == (200, None)


@pytest.fixture
def attic(hub: Any) -> Any:
    """A server that has ink, works for everybody, and asked for jobs."""
    server = hub.join("attic")
    tell(hub, server, file("ink.safetensors", "ink"))
    can(hub, server)
    ask(hub, server)
    return server


def test_a_job_without_obstacles_is_in_line(hub: Any, attic: Any) -> None:
    first, second = submit(hub, INK), submit(hub, INK)
    assert why(hub, first) == ("Next in line on attic", {"attic": []})
    assert why(hub, second)[0] == "In line for attic, 1 job before it"
    urgent = submit(hub, INK, priority=3)
    assert why(hub, urgent)[0] == "Next in line on attic"
    answer = hub.request("GET", f"/api/v1/jobs/{second}/why", key=hub.admin).json()
    assert answer["servers"][0]["before"] == 2
    assert hub.request("GET", "/api/v1/jobs/none/why", key=hub.admin).status_code == 404


def test_a_model_that_nobody_has_that_some_lack_and_that_lies_apart(hub: Any, attic: Any) -> None:
    job_id = submit(hub, {"prompt": "<lora:ink:1><lora:oil:1>"})
    assert why(hub, job_id) == ("Waits for oil: no server has it", {"attic": ["model_missing"]})
    studio = hub.join("studio")
    tell(hub, studio, file("oil.safetensors", "oil"), webui=False)
    job_id = submit(hub, {"prompt": "<lora:ink:1><lora:oil:1>"})
    expected = {
        "attic": ["model_missing"],
        "studio": ["no_webui", "model_missing"],
    }
    assert why(hub, job_id) == ("Waits for oil on attic, which has everything else", expected)
    targeted = submit(hub, {"prompt": "<lora:oil:1>"}, targets=["attic"])
    assert why(hub, targeted)[0] == "Waits for oil: attic does not have it"
    assert why(hub, targeted)[1]["studio"][0] == "not_a_target"


def test_a_name_with_two_meanings_and_a_file_not_read_yet(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, studio, file("ink.safetensors", "other ink"), file("raw.safetensors", None))
    can(hub, studio)
    ask(hub, studio)
    job_id = submit(hub, INK)
    expected = {"attic": ["model_ambiguous"], "studio": ["model_ambiguous"]}
    assert why(hub, job_id) == ("Waits for ink: several models have this name; choose one", expected)
    unread = submit(hub, {"prompt": "<lora:raw:1>"}, server="studio")
    text = "Next in line on studio"  # the other job runs nowhere
    assert why(hub, unread) == (text, {"attic": ["model_missing"], "studio": []})


def test_what_people_decided_counts(hub: Any, attic: Any) -> None:
    studio = hub.join("studio")
    tell(hub, studio, file("oil.safetensors", "oil"))
    can(hub, studio)
    ask(hub, studio)
    job_id = submit(hub, {"prompt": "<lora:nothing:1>"})
    assert why(hub, job_id)[1] == {"attic": ["model_missing"], "studio": ["model_missing"]}
    decided = job_requirements.update().values(decision="run_anyway", decision_server_id=studio.server_id)
    write(hub, decided)
    assert why(hub, job_id) == (
        "Next in line on studio",
        {"attic": ["model_missing"], "studio": []},
    )
    write(hub, job_requirements.update().values(decision="not_a_model", decision_server_id=None))
    assert why(hub, job_id) == ("Next in line on attic or studio", {"attic": [], "studio": []})


def test_consent_is_needed_except_for_its_own_jobs(hub: Any, attic: Any) -> None:
    can(hub, attic, works_for_others="never")
    mine, other = submit(hub, INK, key=attic.key), submit(hub, INK)
    assert why(hub, mine) == ("Next in line on attic", {"attic": []})
    text = "Waits for a server that takes jobs from others: attic takes none"
    assert why(hub, other) == (text, {"attic": ["not_for_others"]})


@pytest.mark.parametrize(
    ("reason", "words"),
    [("refused", "sent it back"), ("failed", "failed with it"), ("lost", "was lost while running it")],
)
def test_a_server_that_had_the_job_is_left_out_until_its_inventory_grew(
    hub: Any, attic: Any, reason: str, words: str
) -> None:
    job_id = submit(hub, INK)
    row = {"job_id": job_id, "server_id": attic.server_id, "reason": reason, "text": "so", "at_ms": 1}
    write(hub, job_exclusions.insert().values(**row, sequence=1))
    text = f"Waits for another server: attic {words}"
    assert why(hub, job_id) == (text, {"attic": [f"excluded_{reason}"]})
    hub.run(hub.hub.dispatcher.inventory_changed(attic.server_id, 2))
    assert why(hub, job_id) == ("Next in line on attic", {"attic": []})


def test_a_job_that_was_sent_back_too_often_waits_for_a_person(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    write(hub, jobs.update().values(refusals=5))
    text = "Sent back 5 times; it waits until you choose where to try again"
    assert why(hub, job_id) == (text, {"attic": ["refused_often"]})


def test_pauses_and_silence(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    write(hub, hub_facts.insert().values(name="jobs_paused", value="1"))
    assert why(hub, job_id) == ("Waits until the queue is resumed", {"attic": ["queue_paused"]})
    write(hub, hub_facts.delete().where(hub_facts.c.name == "jobs_paused"))
    write(hub, servers.update().values(jobs_paused=1))
    assert why(hub, job_id) == ("Waits for attic, which is paused", {"attic": ["server_paused"]})
    write(hub, servers.update().values(jobs_paused=0))
    hub.clock.advance(60)
    expected = ("Waits for attic, which is switched off", {"attic": ["server_unreachable"]})
    assert why(hub, job_id) == expected
    write(hub, servers.update().values(frozen="x"))
    assert why(hub, job_id)[1] == {"attic": ["server_frozen"]}


def test_what_the_webui_lacks(hub: Any, attic: Any) -> None:
    can(hub, attic, samplers=["Euler"], architectures=["sd1"])
    assert why(hub, submit(hub, {**INK, "sampler_name": "Restart"})) == (
        "Waits for a WebUI with sampler Restart",
        {"attic": ["sampler_missing"]},
    )
    tell(hub, attic, file("f.safetensors", "f", kind="checkpoint"))
    write(hub, models.update().where(models.c.hash_sha256 == sha("f")).values(base_model="Flux.1 D"))
    flux = submit(hub, {"override_settings": {"sd_model_checkpoint": "f"}})
    assert why(hub, flux) == (
        "Waits for a WebUI that loads Flux",
        {"attic": ["architecture_unsupported"]},
    )


@pytest.mark.parametrize(
    "decision",
    [{"decision": "run_anyway"}, {"decision": "run_anyway", "server": "attic"}, {"decision": "not_a_model"}],
)
def test_a_person_who_waives_a_checkpoint_waives_what_the_webui_can_load_too(
    hub: Any, attic: Any, decision: dict[str, str]
) -> None:
    can(hub, attic, architectures=["sd1"])
    tell(hub, attic, file("f.safetensors", "f", kind="checkpoint"))
    write(hub, models.update().where(models.c.hash_sha256 == sha("f")).values(base_model="Flux.1 D"))
    flux = submit(hub, {"override_settings": {"sd_model_checkpoint": "f"}})
    assert why(hub, flux)[1] == {"attic": ["architecture_unsupported"]}
    path = f"/api/v1/jobs/{flux}/decisions"
    assert hub.request("POST", path, key=hub.admin, json={"requirement": 0, **decision}).status_code == 200
    assert why(hub, flux) == ("Next in line on attic", {"attic": []})
    body = {"runner_id": "r", "others": True, "wait_s": 0}
    path = f"/api/v1/servers/{attic.server_id}/runner/next"
    assert hub.request("POST", path, key=attic.key, json=body).json()["job_id"] == flux


def test_the_place_in_line_follows_the_turns_of_submitters(hub: Any, attic: Any) -> None:
    """Behind many jobs of somebody else one is next, and so it is given."""
    many = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": INK, "count": 1000}).json()
    first = hub.request("POST", f"/api/v1/servers/{attic.server_id}/runner/next", key=attic.key, json=ASKS)
    assert first.json()["job_id"] == many["job_id"]
    ben = hub.make_key("jobs")
    mine = submit(hub, INK, key=ben)
    assert why(hub, mine)[0] == "Next in line on attic"
    assert why(hub, many["job_ids"][1])[0] == "In line for attic, 1 job before it"
    assert why(hub, many["job_ids"][-1])[0] == "In line for attic, 999 jobs before it"
    row = hub.request("GET", "/views/queue?text=cat&submitter=key:" + ben.split("_")[1], key=hub.admin).text
    assert "Next in line on attic" in row
    done = {"job_id": first.json()["job_id"], "fence": first.json()["fence"], "code": "busy", "text": "later"}
    refused = hub.request(
        "POST", f"/api/v1/servers/{attic.server_id}/runner/refuse", key=attic.key, json=done
    )
    assert refused.status_code == 204
    hub.clock.advance(61)
    tell(hub, attic, file("ink.safetensors", "ink"), sequence=2)
    given = hub.request("POST", f"/api/v1/servers/{attic.server_id}/runner/next", key=attic.key, json=ASKS)
    assert given.json()["job_id"] == mine


def test_a_folder_that_is_not_connected(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    tell(hub, attic, file("ink.safetensors", "ink"), away=("lora",))
    text = "Waits for the folder of ink on attic, which is not connected"
    assert why(hub, job_id) == (text, {"attic": ["model_unreachable"]})


def test_a_runner_that_does_not_ask(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    hub.clock.advance(100)
    tell(hub, attic, file("ink.safetensors", "ink"), webui=False)
    hub.beat(attic, "boot", 2)
    text = "Waits for attic, which accepts no jobs: StableQueue is not running in a WebUI there"
    assert why(hub, job_id) == (text, {"attic": ["no_runner"]})


def test_an_agent_alone_makes_no_pictures(hub: Any) -> None:
    nas = hub.join("nas")
    tell(hub, nas, file("ink.safetensors", "ink"), webui=False)
    job_id = submit(hub, INK)
    text = "Waits for nas, which cannot make pictures: only the agent runs there"
    assert why(hub, job_id) == (text, {"nas": ["no_webui"]})
    page = hub.request("GET", "/views/queue", key=hub.admin).text
    assert "makes no pictures: only the agent runs there</span>" in page
    servers_page = hub.request("GET", "/views/servers", key=hub.admin).text
    assert "It cannot make pictures: only the agent runs there." in servers_page


def test_nobody_and_no_longer_anybody(hub: Any) -> None:
    assert why(hub, submit(hub, INK)) == ("Waits for a server: none has joined", {})
    attic = hub.join("attic")
    job_id = submit(hub, INK, targets=["attic"])
    path = f"/api/v1/servers/{attic.server_id}"
    assert hub.request("DELETE", path, key=hub.admin).status_code < 300
    assert why(hub, job_id) == ("Its target is gone", {})


def test_a_job_that_has_ended_waits_for_nothing(hub: Any, attic: Any) -> None:
    job_id = submit(hub, INK)
    hub.request("POST", f"/api/v1/jobs/{job_id}/cancel", key=hub.admin)
    assert why(hub, job_id) == ("", {})
    with hub.hub.store.read() as connection:
        assert connection.scalar(sa.select(jobs.c.state)) == "cancelled"


def test_a_name_that_two_contents_share_on_a_server_is_told(hub: Any, attic: Any) -> None:
    tell(hub, attic, file("a/ink.safetensors", "the ink"), file("b/ink.safetensors", "another ink"))
    hash_ = sha("the ink")[:12]
    infotext = f'<lora:ink:1>\nSteps: 1, Sampler: Euler, Seed: 1, Lora hashes: "ink: {hash_}", Version: f2.0'
    body = {"infotext": infotext}
    job_id = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).json()["job_id"]
    ask(hub, attic)
    text = "Waits for ink to be renamed on attic, where another file has the same name"
    assert why(hub, job_id) == (text, {"attic": ["model_name_shared"]})


def tired(hub: Any, hosts: Any) -> tuple[Any, str]:
    """A runner whose server failed three times in a row, and a job that waits for it."""
    runner = hosts.add("forge", ("lora", "ink.safetensors", "ink"))
    for _ in range(3):
        submit(hub, {"prompt": "<lora:ink:1>"})
        taken = runner.next()
        base = f"/api/v1/servers/{runner.server.server_id}/runner"
        said = {"job_id": taken["job_id"], "fence": taken["fence"], "outcome": "failed", "text": "no memory"}
        assert hub.request("POST", f"{base}/finish", key=runner.server.key, json=said).status_code == 200
        hub.request("POST", f"/api/v1/jobs/{taken['job_id']}/cancel", key=hub.admin)
    job_id = submit(hub, {"prompt": "<lora:ink:1>"})
    text = "Waits for forge, which is in cooldown after several failures"
    assert why(hub, job_id) == (text, {"forge": ["server_resting"]})
    page = hub.request("GET", "/views/queue", key=hub.admin).text
    assert "cooling down after several failures</span>" in page
    assert runner.next() is None
    return runner, job_id


def test_a_server_that_failed_several_times_rests(hub: Any, hosts: Any) -> None:
    tired(hub, hosts)


def test_a_person_who_lets_it_go_on_ends_its_rest(hub: Any, hosts: Any) -> None:
    runner, job_id = tired(hub, hosts)
    path = f"/api/v1/queue/servers/{runner.server.server_id}/resume"
    assert hub.request("POST", path, key=hub.admin).status_code == 200
    assert runner.next()["job_id"] == job_id


def test_a_job_that_its_own_webui_queues_ends_its_rest(hub: Any, hosts: Any) -> None:
    runner, _ = tired(hub, hosts)
    submit(hub, {"prompt": "<lora:ink:1>"})
    assert runner.next() is None, "somebody else's job does not"
    body = {"payload": {"prompt": "<lora:ink:1>"}}
    assert hub.request("POST", "/api/v1/jobs", key=runner.server.key, json=body).status_code == 202
    assert runner.next() is not None


def test_a_server_that_gave_way_to_its_owner_did_not_fail(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", ("lora", "ink.safetensors", "ink"))
    job_id = submit(hub, {"prompt": "<lora:ink:1>"})
    assert runner.refuse(runner.next(), "busy").status_code == 204
    text = "Waits for forge, which is in use"
    assert why(hub, job_id) == (text, {"forge": ["server_in_use"]})
    runner.others = False
    assert runner.next() is None
    runner.others = True
    assert runner.next() is not None, "its owner lets others in again"


def test_a_server_that_somebody_uses_is_named_until_it_works_for_others_again(hub: Any, attic: Any) -> None:
    can(hub, attic, works_for_others="idle")
    job_id = submit(hub, INK)
    ask(hub, attic, others=False)
    text = "Waits for attic, which is in use"
    assert why(hub, job_id) == (text, {"attic": ["server_in_use"]})
    own = submit(hub, INK, key=attic.key)
    assert why(hub, own)[1] == {"attic": []}, "its own jobs run"
