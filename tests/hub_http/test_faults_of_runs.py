"""Whose fault a failed run is decides what follows: for the job, for its server, for other jobs."""

from __future__ import annotations

from typing import Any

import pytest

from ..fake_runner import sha256_of
from .test_job_runs import BASE, INK, OTHER, PAYLOAD, actions, job, pass_time, state, submit

ON_BOTH_DATABASES = True
UNREADABLE = "The WebUI cannot load the model file base.safetensors: Failed to recognize model type!"
FULL = "There is no room in the folder of outputs, /out. Free some space there."


def why(hub: Any, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = hub.request("GET", f"/api/v1/jobs/{job_id}/why", key=hub.admin).json()
    return found


def failed(runner: Any, taken: dict[str, Any], **fields: Any) -> str:
    answer = runner.finish(taken, [], outcome="failed", **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


def test_a_fault_of_the_job_is_its_failure_after_one_try_and_counts_against_no_server(
    hub: Any, hosts: Any
) -> None:
    runner = hosts.add("forge", BASE, INK)
    bad, good = [submit(hub) for _ in range(4)], submit(hub, name="good")
    for job_id in bad:
        taken = runner.next()
        assert taken["job_id"] == job_id
        told = {"text": "The WebUI does not take these fields: steps.", "fault": "job", "traceback": "Trace"}
        assert failed(runner, taken, **told) == "failed"
    found = job(hub, bad[0])
    assert (found["attempts"], found["failure"]) == (1, "job_error")
    assert "steps" in found["failure_text"]
    report = hub.request("GET", f"/api/v1/jobs/{bad[0]}/report", key=hub.admin).json()
    assert report["runs"][0]["traceback"] == "Trace"
    assert runner.next()["job_id"] == good, "the server did nothing wrong"


def test_a_file_that_cannot_be_loaded_is_kept_from_there_by_content_and_the_job_goes_elsewhere(
    hub: Any, hosts: Any
) -> None:
    first = hosts.add("first", BASE, OTHER, INK)
    job_id, same = submit(hub), submit(hub)
    second = hosts.add("second", BASE, INK)
    taken = first.next()
    told = {"text": UNREADABLE, "fault": "file", "requirement": taken["files"][0]["requirement"]}
    assert failed(first, taken, **told) == "pending"
    assert first.next() is None, "no other job that names this content is tried there"
    reasons = next(one for one in why(hub, same)["servers"] if one["alias"] == "first")["reasons"]
    assert [one["code"] for one in reasons] == ["model_unloadable"]
    assert "Failed to recognize" in reasons[0]["text"]
    model = hub.request("GET", f"/api/v1/models/{sha256_of(BASE[2])}", key=hub.admin).json()
    assert [one["unloadable"] for one in model["servers"] if one["alias"] == "first"] == [UNREADABLE]
    assert second.next()["job_id"] == job_id
    other = submit(hub, {**PAYLOAD, "override_settings": {"sd_model_checkpoint": "other.safetensors"}})
    assert first.next()["job_id"] == other


def test_a_file_that_no_server_can_load_fails_the_job_after_one_try(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id, waiting = submit(hub), submit(hub)
    taken = runner.next()
    told = {"text": UNREADABLE, "fault": "file", "requirement": taken["files"][0]["requirement"]}
    assert failed(runner, taken, **told) == "failed"
    assert (job(hub, job_id)["attempts"], job(hub, job_id)["failure"]) == (1, "model_unloadable")
    assert runner.next() is None
    assert why(hub, waiting)["waiting_code"] == "model_unloadable"
    # A person who put it right lets it try again; so does another version of the WebUI.
    assert hub.request("POST", f"/api/v1/jobs/{waiting}/retry", key=hub.admin).status_code == 200
    assert runner.next()["job_id"] == waiting


def test_trouble_around_a_host_holds_its_server_costs_no_attempt_and_ends_by_itself(
    hub: Any, hosts: Any
) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    for _ in range(6):
        taken = runner.next()
        assert taken["job_id"] == job_id
        assert failed(runner, taken, text=FULL, fault="surroundings") == "pending"
        found = why(hub, job_id)
        assert found["waiting_code"] == "server_trouble"
        assert [one["text"] for one in found["servers"][0]["reasons"]] == [FULL]
        runner.trouble = FULL
        assert runner.next() is None
        assert why(hub, job_id)["waiting_code"] == "server_trouble"
        runner.trouble = ""
    assert job(hub, job_id)["attempts"] == 0
    assert runner.work(runner.next()).json()["state"] == "completed"


def test_a_job_that_its_only_server_lost_runs_there_again_and_others_run_first(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    poison, good = submit(hub), submit(hub)
    for attempt in range(3):
        taken = runner.next()
        assert taken["job_id"] == poison
        runner.runner_id = f"after-{attempt}"
        hub.clock.advance(31)
        again = runner.next()
        if attempt == 0:
            assert again["job_id"] == good
            pass_time(hub, 20)
            assert state(hub, poison) == "pending"
            assert runner.next()["job_id"] == good, "it is at work on another one"
            assert runner.work(again).json()["state"] == "completed"
        else:
            assert again is None
        if attempt < 2:
            assert runner.next() is None, "not at once"
            for _ in range(8):
                if why(hub, poison)["waiting_code"] is None:
                    break
                assert runner.next() is None
                pass_time(hub, 5)
    assert state(hub, poison) == "failed"
    assert job(hub, poison)["attempts"] == 3
    assert actions(hub, poison).count("job_lost") == 2


def test_a_lost_job_goes_to_another_server_that_can_take_it(hub: Any, hosts: Any) -> None:
    first = hosts.add("first", BASE, INK)
    job_id = submit(hub)
    first.next()
    second = hosts.add("second", BASE, INK)
    assert second.next() is None
    first.runner_id = "again"
    hub.clock.advance(31)
    second.next()
    assert first.next() is None
    second_job = second.next()
    assert second_job["job_id"] == job_id


@pytest.mark.parametrize("own", [False, True])
def test_a_server_whose_owner_stopped_a_job_gets_a_pause(hub: Any, hosts: Any, own: bool) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub, key=hosts.servers["forge"].key if own else None)
    taken = runner.next()
    answer = runner.finish(taken, [], outcome="interrupted", text="It was stopped in the WebUI.")
    assert answer.json()["state"] == "pending"
    assert runner.next() is None
    assert why(hub, job_id)["waiting_code"] == "server_in_use"
    hub.clock.advance(55)
    assert runner.next() is None
    hub.clock.advance(6)
    assert runner.next() is not None
    assert job(hub, job_id)["attempts"] == 1


def test_a_lora_of_which_nothing_was_applied_made_no_difference(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    runner.unapplied.add("lora")
    assert runner.work(runner.next()).json()["outcome"] == "not_provable"
    report = hub.request("GET", f"/api/v1/jobs/{job_id}/report", key=hub.admin).json()
    told = [one["confirmation"] for one in report["runs"][0]["uses"]]
    assert [one["reason"] for one in told] == ["loaded", "no_difference"]
    assert "made no difference" in told[1]["text"]


def test_a_job_that_names_no_checkpoint_says_which_one_was_used(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub, {"prompt": "a cat", "seed": 5})
    answer = runner.work(runner.next()).json()
    assert (answer["state"], answer["outcome"]) == ("completed", "not_provable")
    report = hub.request("GET", f"/api/v1/jobs/{job_id}/report", key=hub.admin).json()
    assert "names no checkpoint" in report["runs"][0]["text"]
    assert "“base”" in report["runs"][0]["text"]
    # Of a LoRA that it names it can be said all the same.
    submit(hub, {"prompt": "a cat <lora:ink:1>", "seed": 5})
    assert runner.work(runner.next()).json()["outcome"] == "confirmed"
