"""One job on the page: pictures, models, why it waits, and what its forms do."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from stablequeue_client.shared.views import job_values as jv

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "sd/base.safetensors", "base checkpoint")
INK = ("lora", "styles/ink.safetensors", "ink lora")
PAYLOAD = {
    "prompt": "a cat\n<lora:ink:0.8>",
    "seed": 5,
    "steps": 20,
    "width": 512,
    "enable_hr": False,
    "tiling": True,
    "override_settings": {"sd_model_checkpoint": "sd/base.safetensors"},
}


def submit(hub: Any, payload: dict[str, Any] | None = None, **options: Any) -> str:
    body = {"payload": payload or PAYLOAD, **options}
    return str(hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).json()["job_id"])


def look(hub: Any, job_id: str, *, key: str | None = None) -> jv.JobDetails:
    answer = hub.request(
        "GET", f"/views/job/{job_id}", key=key or hub.admin, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=jv.JobDetails)


def press(hub: Any, path: str, *, status: int = 200, **fields: Any) -> Any:
    answer = hub.request("POST", f"/views/jobs/{path}", key=hub.admin, data=fields)
    assert answer.status_code == status, answer.text
    return answer


def test_a_finished_job_shows_pictures_files_and_proofs(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    runner.work(runner.next())
    job = look(hub, job_id)
    assert (job.row.state, job.row.server, job.row.picture) == ("completed", "forge", True)
    assert [(one.file, one.outcome) for one in job.models] == [
        ("sd/base.safetensors", "confirmed"),
        ("styles/ink.safetensors", "confirmed"),
    ]
    assert "Steps: " in job.pictures[0].infotext
    digest = hashlib.sha256(b"base checkpoint").hexdigest()
    assert digest[:10] in [hash_ for _, _, hash_ in job.pictures[0].recorded]
    assert [event.text for event in job.timeline] == ["Submitted", "Taken by forge", "Finished on forge"]
    assert (job.why, job.may_accept, job.may_submit) == ((), False, True)
    again = press(hub, f"{job_id}/again", seed="same")
    new_id = again.headers["x-stablequeue-go"].rpartition("id=")[2]
    assert look(hub, new_id).fields.seed == "5"
    assert hub.request("GET", "/views/job/none", key=hub.admin).status_code == 404


def test_a_wrong_picture_is_accepted(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    taken = runner.next()
    data = runner.webui.generate(taken["payload"])
    runner.send(taken, 0, data)
    runner.finish(taken, [data], loaded=[{"requirement": 1, "state": "other_file"}])
    job = look(hub, job_id)
    assert (job.row.state, job.row.outcome, job.may_accept) == ("failed", "wrong", True)
    assert [one.outcome for one in job.models][1] == "wrong"
    press(hub, f"{job_id}/accept")
    assert (look(hub, job_id).row.outcome, look(hub, job_id).may_accept) == ("accepted", False)


def test_a_form_changes_what_it_says_and_nothing_else(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)
    shown = look(hub, job_id).fields
    assert (shown.steps, shown.width, shown.checkpoint) == ("20", "512", "sd/base.safetensors")
    assert shown.others == ("tiling",)
    form = {name: getattr(shown, name) for name in ("prompt", "steps", "width", "seed", "checkpoint")}
    form["prompt"] = form["prompt"].replace("\n", "\r\n")
    unchanged = press(hub, f"{job_id}/edit", **form)
    assert "Nothing was changed" in unchanged.text
    target = runner.server.server_id
    press(hub, f"{job_id}/edit", **{**form, "steps": "30", "cfg_scale": "6.5", "targets": [target]})
    job = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()
    assert job["payload"] == {**PAYLOAD, "steps": 30, "cfg_scale": 6.5}
    assert job["targets"] == [target]
    press(hub, f"{job_id}/edit", **{**form, "steps": "30", "cfg_scale": "6.5"})
    assert look(hub, job_id).fields.targets == ()
    wrong = press(hub, f"{job_id}/edit", status=400, **{**form, "steps": "many"})
    assert wrong.json()["error"]["message"] == "Steps must be a number."
    press(hub, f"{job_id}/edit", name="Cover")
    assert look(hub, job_id).row.title == "Cover"


@pytest.mark.parametrize("decision", ["run_anyway", "not_a_model", "give_up"])
def test_what_holds_a_job_up_can_be_decided(hub: Any, hosts: Any, decision: str) -> None:
    runner = hosts.add("forge", BASE)
    assert runner.next() is None
    job_id = submit(hub)
    job = look(hub, job_id)
    assert [(one.mark, one.may_decide) for one in job.models] == [("have", False), ("missing", True)]
    assert [(line.server, line.reasons) for line in job.why] == [("forge", ("ink is not there.",))]
    press(hub, f"{job_id}/decisions", requirement="1", decision=decision, server="forge")
    after = look(hub, job_id)
    assert after.row.state == ("cancelled" if decision == "give_up" else "pending")
    if decision == "run_anyway":
        assert after.models[1].decision == "Decided: runs without it on forge"
        assert after.row.waiting == "Next in line on forge"
    press(hub, f"{job_id}/decisions", status=400, requirement="x", decision=decision)


def test_who_may_only_look_can_change_nothing(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE)
    job_id = submit(hub)
    job = look(hub, job_id, key=hub.make_key("view"))
    assert (job.row.may_change, job.may_submit, job.models[1].may_decide) == (False, False, False)
    stranger = hub.make_key("jobs")
    for path in ("edit", "decisions", "accept"):
        fields = {"requirement": "1", "decision": "give_up", "name": "x"}
        answer = hub.request("POST", f"/views/jobs/{job_id}/{path}", key=stranger, data=fields)
        assert answer.status_code == 403


def test_deleting_it_leads_back_to_the_queue(hub: Any, hosts: Any) -> None:
    job_id = submit(hub)
    answer = press(hub, "actions", action="delete", ids=job_id, go="queue")
    assert answer.headers["x-stablequeue-go"] == "?view=queue"
