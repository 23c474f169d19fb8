"""Jobs go to servers that really have their models, once, and end once."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from stablequeue_client.webui.runner.job_run import pictures_left_out
from stablequeue_hub.app import create_app

from ..fake_runner import DiskFile

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "sd/base.safetensors", "base checkpoint")
OTHER = ("checkpoint", "other.safetensors", "other checkpoint")
INK = ("lora", "styles/ink.safetensors", "ink lora")
PAYLOAD = {
    "prompt": "a cat <lora:ink:0.8>",
    "seed": 5,
    "override_settings": {"sd_model_checkpoint": "sd/base.safetensors"},
}


def submit(hub: Any, payload: dict[str, Any] | None = None, *, key: str | None = None, **body: Any) -> str:
    answer = hub.request(
        "POST", "/api/v1/jobs", key=key or hub.admin, json={"payload": payload or PAYLOAD, **body}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def job(hub: Any, job_id: str) -> dict[str, Any]:
    answer = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def state(hub: Any, job_id: str) -> str:
    return str(job(hub, job_id)["state"])


def actions(hub: Any, job_id: str) -> list[str]:
    answer = hub.request("GET", "/api/v1/events?limit=1000", key=hub.admin).json()
    return [event["action"] for event in answer["events"] if event["job_id"] == job_id]


def sweep(hub: Any) -> None:
    hub.run(hub.hub.dispatcher.sweep())


def pass_time(hub: Any, seconds: float) -> None:
    """Looking every five seconds, as the background does."""
    while seconds > 0:
        hub.clock.advance(min(5.0, seconds))
        seconds -= 5.0
        sweep(hub)


def test_a_job_runs_where_its_models_are_and_its_picture_is_kept(hub: Any, hosts: Any) -> None:
    empty = hosts.add("attic", OTHER)
    runner = hosts.add("forge", BASE, OTHER, INK)
    job_id = submit(hub)
    assert empty.next() is None
    taken = runner.next()
    assert taken["job_id"] == job_id
    assert state(hub, job_id) == "processing"
    answer = runner.work(taken)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["outcome"]) == ("completed", "confirmed")
    found = job(hub, job_id)
    assert (found["state"], found["outcome"], found["server_id"]) == (
        "completed",
        "confirmed",
        runner.server.server_id,
    )
    assert "Model hash" in found["pictures"][0]["infotext"]
    picture = hub.request("GET", f"/api/v1/jobs/{job_id}/pictures/0", key=hub.admin)
    assert hashlib.sha256(picture.content).hexdigest() == found["pictures"][0]["sha256"]
    assert picture.headers["content-type"] == "image/png"
    assert hub.request("GET", f"/api/v1/jobs/{job_id}/pictures/1", key=hub.admin).status_code == 404
    assert actions(hub, job_id) == ["job_submitted", "job_started", "job_completed"]
    assert runner.next() is None


def test_what_a_runner_has_to_say_of_a_finished_job_stands_in_its_history(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, OTHER, INK)
    job_id = submit(hub)
    taken = runner.next()
    picture = runner.webui.generate(taken["payload"])
    assert runner.send(taken, 0, picture).status_code == 200
    assert runner.finish(taken, [picture], text=pictures_left_out(300)).status_code == 200
    report = hub.request("GET", f"/api/v1/jobs/{job_id}/report", key=hub.admin).json()
    assert report["timeline"][-1]["reason"].startswith("It made 300 pictures and sends the first 256;")
    assert pictures_left_out(256) == ""


def test_names_are_those_of_the_server_that_runs_it(hub: Any, hosts: Any) -> None:
    writer = hosts.add("writer", BASE, INK)
    runner = hosts.add(
        "runner",
        ("checkpoint", "renamed.safetensors", "base checkpoint"),
        ("lora", "tusche.safetensors", "ink lora"),
    )
    job_id = submit(hub, key=writer.server.key, targets=["runner"])
    taken = runner.next()
    assert (taken["submitter"], taken["own"]) == ("writer", False)
    assert taken["payload"]["prompt"] == "a cat <lora:tusche:0.8>"
    assert taken["payload"]["override_settings"]["sd_model_checkpoint"] == "renamed.safetensors"
    assert {one["written"]: one["name"] for one in taken["renamed"]} == {
        "ink": "tusche",
        "sd/base.safetensors": "renamed.safetensors",
    }
    assert runner.work(taken).json()["outcome"] == "confirmed"
    assert job(hub, job_id)["payload"]["prompt"] == PAYLOAD["prompt"]


def test_a_name_that_two_contents_share_there_is_not_used(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    runner.webui.files.append(DiskFile("lora", "b/ink.safetensors", "another ink"))
    hosts.tell(runner)
    assert runner.next() is None
    del runner.webui.files[-1]
    hosts.tell(runner)
    assert runner.next()["job_id"] == job_id


def test_a_lost_answer_is_given_again_and_a_dead_process_loses_its_job(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    taken = runner.next()
    assert runner.next() == taken
    runner.runner_id = "forge-2"
    assert runner.next() is None
    assert state(hub, job_id) == "processing", "perhaps both processes live"
    hub.clock.advance(31)
    assert runner.next() is None, "the job during which the WebUI died is not started there again"
    assert state(hub, job_id) == "pending"
    assert actions(hub, job_id)[-1] == "job_lost"
    other = hosts.add("other", BASE, INK)
    again = other.next()
    assert (again["job_id"], again["fence"]) == (job_id, taken["fence"] + 1)


def test_whoever_lost_a_job_cannot_finish_it(hub: Any, hosts: Any) -> None:
    slow, quick = hosts.add("slow", BASE, INK), hosts.add("quick", BASE, INK)
    job_id = submit(hub)
    old = slow.next()
    pass_time(hub, 70)
    assert state(hub, job_id) == "pending"
    assert not slow.renew(old)
    new = quick.next()
    assert new["job_id"] == job_id
    data = slow.webui.generate(old["payload"])
    assert slow.send(old, 0, data).status_code == 409
    assert slow.finish(old, []).status_code == 409
    assert quick.work(new).json()["state"] == "completed"
    late = slow.finish(old, [data])
    assert (late.status_code, late.json()["error"]["code"]) == (409, "stale_run")
    assert actions(hub, job_id).count("job_completed") == 1


def test_a_picture_is_kept_by_its_reader_and_asked_for_again(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    assert runner.work(runner.next()).status_code == 200
    (old,) = hub.request("GET", "/api/v1/gallery/images", key=hub.admin).json()["images"]
    for path in (f"/api/v1/jobs/{job_id}/pictures/0", old["url"]):
        picture = hub.request("GET", path, key=hub.admin)
        assert picture.headers.get_list("cache-control") == ["private, no-cache"], path
        tag = picture.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = hub.request("GET", path, key=hub.admin, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert (again.headers["etag"], again.headers.get_list("cache-control")) == (
                tag,
                ["private, no-cache"],
            )
        other = hub.request("GET", path, key=hub.admin, headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, picture.content)
        assert hub.request("GET", path).headers.get_list("cache-control") == ["no-store"]


def test_who_lost_the_answer_to_the_end_of_a_run_gets_it_again(hub: Any, hosts: Any) -> None:
    runner, other = hosts.add("forge", BASE, INK), hosts.add("other", BASE, INK)
    job_id = submit(hub, targets=["forge"])
    taken = runner.next()
    data = runner.webui.generate(taken["payload"])
    first = runner.work(taken)
    assert (first.status_code, first.json()["state"]) == (200, "completed")
    history = actions(hub, job_id)
    # The runner sends all of it again, pictures and end.
    assert runner.send(taken, 0, data).json()["sha256"] == hashlib.sha256(data).hexdigest()
    again = runner.finish(taken, [data])
    assert (again.status_code, again.json()) == (200, first.json())
    assert actions(hub, job_id) == history
    # It gets no other picture in, and nobody else is answered.
    assert runner.send(taken, 0, runner.webui.generate({**PAYLOAD, "seed": 6})).status_code == 409
    assert runner.send(taken, 1, data).status_code == 409
    assert other.send(taken, 0, data).status_code == 409
    assert other.finish(taken, [data]).status_code == 409
    # What gave up on the pictures meanwhile changes nothing either.
    assert runner.finish(taken, [], outcome="failed", text="gave up").json() == first.json()
    assert job(hub, job_id)["state"] == "completed"


def test_the_end_of_a_failed_run_told_again_costs_one_attempt(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    taken = [runner.next()]
    outside = {"outcome": "failed", "fault": "surroundings", "text": "The disk is full."}
    for _ in range(2):
        assert runner.finish(taken[0], [], **outside).json()["state"] == "pending"
    hub.request("DELETE", f"/api/v1/jobs/{job_id}", key=hub.admin)
    runner = hosts.add("second", BASE, INK)
    job_id = submit(hub, targets=["second"])
    first = runner.next()
    for _ in range(2):
        assert runner.finish(first, [], outcome="failed", text="CUDA").json()["state"] == "pending"
    assert job(hub, job_id)["attempts"] == 1
    second = runner.next()
    for _ in range(2):
        answer = runner.finish(second, [], outcome="failed", fault="job", text="no such sampler")
        assert answer.json()["state"] == "failed"
    assert runner.finish(first, [], outcome="failed", text="CUDA").json()["state"] == "pending"
    assert actions(hub, job_id).count("job_failed") == 1


def test_a_runner_that_was_only_out_of_reach_may_have_its_job_again(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    runner.next()
    pass_time(hub, 70)
    again = runner.next()
    assert (again["job_id"], again["fence"]) == (job_id, 2)


def test_signs_of_life_keep_a_job_for_as_long_as_it_takes(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    taken = runner.next()
    for part in range(20):
        pass_time(hub, 15)
        assert runner.renew(taken, part / 20)
    assert hub.hub.leases.progress(job_id) == pytest.approx(0.95)
    assert runner.work(taken).json()["state"] == "completed"


def test_a_hub_that_stood_still_takes_no_job_away(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    taken = submit(hub) and runner.next()
    sweep(hub)
    hub.clock.advance(600)
    sweep(hub)
    assert runner.renew(taken)


def test_a_refusal_costs_no_attempt_and_ends_with_the_next_inventory(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    runner.webui.files = [file for file in runner.webui.files if file.kind != "lora"]
    assert runner.step().status_code == 204
    assert state(hub, job_id) == "pending"
    assert runner.next() is None
    hosts.tell(runner)
    assert runner.next() is None, "now the hub knows that the file is gone"
    runner.webui.files.append(DiskFile(*INK))
    hosts.tell(runner)
    assert runner.step().json()["state"] == "completed"
    with hub.hub.store.read() as connection:
        attempts = connection.exec_driver_sql("SELECT attempts, refusals FROM jobs").one()
    assert tuple(attempts) == (0, 1)


def test_a_server_whose_owner_needs_it_gets_no_job_for_a_minute(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    for _ in range(6):
        assert runner.refuse(runner.next(), "busy").status_code == 204
        assert runner.next() is None
        hub.clock.advance(61)
    assert runner.step().json()["state"] == "completed"
    assert actions(hub, job_id).count("job_refused") == 6


def test_two_processes_of_one_server_do_not_take_each_others_jobs(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    submit(hub)
    taken = runner.next()
    for _ in range(8):
        hub.clock.advance(15)
        assert runner.renew(taken)
        runner.runner_id = "another process"
        assert runner.next() is None
        runner.runner_id = "forge-1"
    assert runner.work(taken).json()["state"] == "completed"
    assert "job_lost" not in actions(hub, job_id)


def test_a_server_that_makes_wrong_pictures_again_and_again_gets_none_for_a_while(
    hub: Any, hosts: Any
) -> None:
    runner = hosts.add("forge", BASE, INK)
    for _ in range(4):
        submit(hub)
    runner.webui.faults.blind = True
    runner.webui.files[0].content = "another content under the same name"
    for _ in range(3):
        assert runner.step().json()["outcome"] == "wrong"
    assert runner.next() is None
    hub.clock.advance(601)
    assert runner.next() is not None


def test_after_five_refusals_a_job_waits_for_a_person(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    for _ in range(5):
        assert runner.refuse(runner.next(), "model_changed", 0, "It is another file now.").status_code == 204
        hosts.tell(runner)
    assert runner.next() is None
    assert state(hub, job_id) == "pending"


def test_errors_cost_attempts_elsewhere_first_and_then_end_the_job(hub: Any, hosts: Any) -> None:
    first, second = hosts.add("first", BASE, INK), hosts.add("second", BASE, INK)
    job_id = submit(hub)
    assert second.next()["job_id"] == job_id
    assert second.next()["job_id"] == job_id
    lost = second.next()
    assert first.next() is None
    assert second.finish(lost, [], outcome="failed", text="CUDA out of memory").json()["state"] == "pending"
    assert second.next() is None, "another server can do it"
    taken = first.next()
    assert first.finish(taken, [], outcome="failed", text="CUDA out of memory").json()["state"] == "pending"
    taken = first.next()  # nobody else is left
    assert first.finish(taken, [], outcome="failed", text="CUDA out of memory").json()["state"] == "failed"
    found = job(hub, job_id)
    assert found["state"] == "failed"
    assert actions(hub, job_id)[-1] == "job_failed"


def test_a_cancelled_job_stops_and_its_result_is_not_taken(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    taken = runner.next()
    assert hub.request("POST", f"/api/v1/jobs/{job_id}/cancel", key=hub.admin).status_code == 200
    assert not runner.renew(taken)
    assert runner.work(taken).status_code == 409
    assert state(hub, job_id) == "cancelled"
    with hub.hub.store.read() as connection:
        assert connection.exec_driver_sql("SELECT ended FROM job_runs").scalar() == "cancelled"


@pytest.mark.parametrize("works", ["never", "idle", "always"])
def test_nobodys_machine_works_for_others_without_consent(hub: Any, hosts: Any, works: str) -> None:
    runner = hosts.add("forge", BASE, INK, works=works)
    runner.others = works != "idle"
    others = submit(hub)
    assert (runner.next() is not None) == (works == "always")
    if works != "always":
        own = submit(hub, key=runner.server.key)
        assert runner.step().json()["state"] == "completed"
        assert (state(hub, own), state(hub, others)) == ("completed", "pending")


def test_a_wrong_picture_fails_the_job_and_is_kept(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, OTHER, INK)
    job_id = submit(hub)
    taken = runner.next()

    def swapped() -> None:
        runner.webui.files[0].content = "another content under the same name"

    runner.webui.faults.blind = True
    swapped()
    answer = runner.work(taken)
    assert (answer.json()["state"], answer.json()["outcome"]) == ("failed", "wrong")
    verdict = answer.json()["verdicts"][0]
    assert (verdict["outcome"], verdict["reason"]) == ("wrong", "other_hash")
    with hub.hub.store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM job_pictures").scalar() == 1
        assert connection.exec_driver_sql("SELECT failure FROM jobs").scalar() == "wrong_picture"
    assert state(hub, job_id) == "failed"


def test_a_text_of_a_runner_with_a_nul_in_it_is_taken_without(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    assert runner.refuse(runner.next(), "busy", text="bus\0y").status_code == 204
    hub.clock.advance(61)
    failed = runner.finish(runner.next(), [], outcome="failed", text="CUDA\0 error")
    assert failed.json()["state"] == "pending"
    taken = runner.next()
    data = runner.webui.generate(taken["payload"])
    runner.send(taken, 0, data)
    loaded = [{"requirement": 0, "state": "other_file", "detail": "other\0.safetensors"}]
    assert runner.finish(taken, [data], loaded=loaded).json()["outcome"] == "wrong"
    assert "other.safetensors" in job(hub, job_id)["failure_text"]


def test_what_cannot_be_proved_is_completed_and_said(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    runner.webui.faults.blind = runner.webui.faults.no_hashes = True
    submit(hub)
    answer = runner.step().json()
    assert (answer["state"], answer["outcome"]) == ("completed", "not_provable")


def test_a_picture_has_to_arrive_whole(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    submit(hub)
    taken = runner.next()
    assert runner.send(taken, 0, b"<html>").status_code == 400
    data = runner.webui.generate(taken["payload"])
    assert runner.finish(taken, [data]).status_code == 400
    assert runner.send(taken, 0, data).json()["sha256"] == hashlib.sha256(data).hexdigest()
    assert runner.finish(taken, [data + b"."]).status_code == 400
    assert runner.finish(taken, [data]).json()["state"] == "completed"


def test_a_hub_that_was_started_anew_goes_on_with_what_was_under_way(
    hub: Any, hosts: Any, settings: Any, store: Any
) -> None:
    runner = hosts.add("forge", BASE, INK)
    first, second = submit(hub), submit(hub)
    taken = runner.next()
    hub.app = create_app(settings, store, clock=hub.clock)
    hub.hub = hub.app.state.hub
    assert runner.next() == taken
    assert runner.renew(taken)
    assert runner.work(taken).json()["state"] == "completed"
    assert runner.step().json()["state"] == "completed"
    assert {state(hub, first), state(hub, second)} == {"completed"}


def test_a_job_that_waits_for_a_model_wakes_when_it_arrives(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE)
    job_id = submit(hub)
    assert runner.next() is None
    runner.webui.files.append(DiskFile(*INK))
    hosts.tell(runner)
    assert runner.next()["job_id"] == job_id


def test_a_runner_that_waits_is_woken_by_the_job(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)

    async def both() -> Any:
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8383") as client:
            path = f"/api/v1/servers/{runner.server.server_id}/runner/next"
            asking = asyncio.create_task(
                client.post(
                    path,
                    json={"runner_id": "forge-1", "others": True, "wait_s": 20},
                    headers={"Authorization": f"Bearer {runner.server.key}"},
                )
            )
            await asyncio.sleep(0.2)
            assert not asking.done()
            sent = await client.post(
                "/api/v1/jobs",
                json={"payload": PAYLOAD},
                headers={"Authorization": f"Bearer {hub.admin}"},
            )
            answer = await asyncio.wait_for(asking, 5)
            return sent.json()["job_id"], answer.json()["job_id"]

    sent, taken = hub.run(both())
    assert sent == taken
