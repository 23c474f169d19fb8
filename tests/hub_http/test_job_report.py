"""The report of a job: what happened, and how each model was confirmed."""

from __future__ import annotations

import hashlib
from typing import Any

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "sd/base.safetensors", "base checkpoint")
INK = ("lora", "styles/tusche.safetensors", "ink lora")
PAYLOAD = {
    "prompt": "a cat <lora:ink:0.8>",
    "seed": 5,
    "override_settings": {"sd_model_checkpoint": "sd/base.safetensors"},
}


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def report(hub: Any, job_id: str) -> dict[str, Any]:
    answer = hub.request("GET", f"/api/v1/jobs/{job_id}/report", key=hub.admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_finished_job_tells_which_file_was_used_and_how_that_is_known(hub: Any, hosts: Any) -> None:
    writer = hosts.add("writer", BASE, ("lora", "ink.safetensors", "ink lora"))
    runner = hosts.add("forge", BASE, INK, polls=False)
    body = {"payload": PAYLOAD, "targets": ["forge"]}
    key = writer.server.key
    job_id = hub.request("POST", "/api/v1/jobs", key=key, json=body).json()["job_id"]
    waits = report(hub, job_id)
    assert (waits["submitted_by"], waits["targets"], waits["runs"]) == ("writer", ["forge"], [])
    assert waits["why"]["waiting_for"] == (
        "Waits for forge, which accepts no jobs: StableQueue is not running in a WebUI there"
    )
    assert runner.work(runner.next()).json()["outcome"] == "confirmed"
    found = report(hub, job_id)
    assert found["why"] is None
    assert [(one["role"], one["name"], one["sha256"]) for one in found["models"]] == [
        ("checkpoint", "sd/base.safetensors", sha("base checkpoint")),
        ("lora", "ink", sha("ink lora")),
    ]
    (run,) = found["runs"]
    assert (run["server"], run["ended"]) == ("forge", "completed")
    ink = next(use for use in run["uses"] if use["requirement"] == 1)
    assert (ink["file"]["path"], ink["translated"]) == ("styles/tusche.safetensors", "tusche")
    assert ink["confirmation"]["outcome"] == "confirmed"
    said = [(one["text"], one["by"]) for one in found["timeline"]]
    assert said == [("Submitted", "writer"), ("Taken by forge", "forge"), ("Finished on forge", "forge")]
    (picture,) = found["pictures"]
    assert ("checkpoint", sha("base checkpoint")[:10]) in [
        (one["role"], one["hash"]) for one in picture["recorded"]
    ]


def test_the_timeline_says_who_did_what_and_why(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    key = hub.make_key("jobs", name="My script")
    payload = {**PAYLOAD, "prompt": "<lora:gone:1>"}
    job_id = hub.request("POST", "/api/v1/jobs", key=key, json={"payload": payload}).json()["job_id"]
    path = f"/api/v1/jobs/{job_id}"
    hub.request("PATCH", path, key=key, json={"negative_prompt": "x", "cfg_scale": 5, "priority": 2})
    decision = {"requirement": 1, "decision": "run_anyway", "server": "forge"}
    hub.request("POST", f"{path}/decisions", key=hub.admin, json=decision)
    taken = runner.next()
    base = f"/api/v1/servers/{runner.server.server_id}/runner"
    back = {"job_id": job_id, "fence": taken["fence"], "code": "model_changed", "text": "base is another"}
    assert hub.request("POST", f"{base}/refuse", key=runner.server.key, json=back).status_code == 204
    hub.request("POST", f"{path}/cancel", key=key)
    found = report(hub, job_id)
    said = [(one["text"], one["by"], one["reason"]) for one in found["timeline"]]
    admin = said[2][1]
    assert said == [
        ("Submitted", "My script", ""),
        ("Changed: priority, negative prompt, CFG scale", "My script", ""),
        ("Decided: run without gone on forge", admin, ""),
        ("Taken by forge", "forge", ""),
        ("Sent back unstarted by forge", "forge", "base is another"),
        ("Cancelled", "My script", ""),
    ]
    assert (found["models"][1]["decision"], found["models"][1]["decision_server"]) == ("run_anyway", "forge")
    assert [(run["ended"], run["text"]) for run in found["runs"]] == [("refused", "base is another")]
    assert hub.request("GET", "/api/v1/jobs/none/report", key=hub.admin).status_code == 404
