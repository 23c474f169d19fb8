"""Jobs that wait for one model are shown together, with what to copy; at their deadline they end."""

from __future__ import annotations

import hashlib
from typing import Any

from stablequeue_hub.background.tasks import expire

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
INK = ("lora", "styles/ink.safetensors", "ink lora")


def submit(hub: Any, prompt: str, *, count: int = 1, **body: Any) -> list[str]:
    payload = {"prompt": prompt, "override_settings": {"sd_model_checkpoint": "base.safetensors"}}
    answer = hub.request(
        "POST", "/api/v1/jobs", key=hub.admin, json={"payload": payload, "count": count, **body}
    )
    assert answer.status_code == 202, answer.text
    ids: list[str] = answer.json()["job_ids"]
    return ids


def edit(hub: Any, job_id: str, **values: Any) -> None:
    assert hub.request("PATCH", f"/api/v1/jobs/{job_id}", key=hub.admin, json=values).status_code == 200


def groups(hub: Any, query: str = "") -> dict[str, Any]:
    answer = hub.request("GET", f"/api/v1/queue/waiting{query}", key=hub.admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def test_jobs_that_lack_one_model_are_one_group_with_what_to_copy_where(hub: Any, hosts: Any) -> None:
    has = hosts.add("attic", INK)
    lacks = hosts.add("forge", BASE, ("lora", "other.safetensors", "other"))
    empty = hosts.add("shed", ("lora", "other.safetensors", "other"))
    for runner in (has, lacks, empty):
        assert runner.next() is None
    ids = submit(hub, "<lora:ink:1>", count=3) + submit(hub, "again <lora:ink:0.5>")
    edit(hub, ids[2], deadline_ms=hub.clock.now_ms() + 5_000)
    submit(hub, "nothing")
    found = groups(hub)
    # Two servers lack one of the two models each: either would do.
    group, other = sorted(found["groups"], key=lambda one: one["kind"] != "lora")
    assert (found["total"], other["name"], other["jobs"]) == (2, "base", 4)
    assert {one["alias"]: one["could_run"] for one in other["places"]} == {"attic": True, "shed": False}
    assert (group["kind"], group["name"], group["sha256"]) == ("lora", "ink", sha("ink lora"))
    assert (group["code"], group["jobs"], group["job_ids"]) == ("model_missing", 4, ids)
    assert group["deadline_ms"] == hub.clock.now_ms() + 5_000
    copies = [(one["alias"], one["path"], one["size"]) for one in group["copies"]]
    assert copies == [("attic", "styles/ink.safetensors", has.webui.inventory()["upserts"][0]["size"])]
    places = {one["alias"]: (one["could_run"], len(one["folders"])) for one in group["places"]}
    assert places == {"forge": (True, 1), "shed": (False, 1)}


def test_a_name_that_nobody_has_is_a_group_without_a_source(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE, INK)
    submit(hub, "<lora:none:1> <lora:ink:1>", count=2)
    submit(hub, "<lora:None:1> <lora:never:1>")
    found = groups(hub)["groups"]
    assert [(one["name"], one["sha256"], one["jobs"]) for one in found] == [
        ("none", None, 3),
        ("never", None, 1),
    ]
    assert found[0]["copies"] == []
    assert [one["alias"] for one in found[0]["places"]] == ["forge"]
    assert [one["name"] for one in groups(hub, "?limit=1")["groups"]] == ["none"]
    assert groups(hub, "?limit=1")["total"] == 2


def test_a_server_that_lacks_more_than_one_model_could_not_run_the_job_with_one_of_them(
    hub: Any, hosts: Any
) -> None:
    """Unless one file is all that is missing, though two settings name it."""
    runner = hosts.add("forge", BASE)
    assert runner.next() is None
    submit(hub, "<lora:one:1> <lora:two:1>")
    found = groups(hub)["groups"]
    assert {one["name"]: [at["could_run"] for at in one["places"]] for one in found} == {
        "one": [False],
        "two": [False],
    }
    settings = {"sd_vae": "v.pt", "forge_additional_modules": ["v.pt"], "sd_model_checkpoint": "base"}
    body = {"payload": {"prompt": "x", "override_settings": settings}}
    assert hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).status_code == 202
    found = [one for one in groups(hub)["groups"] if one["name"] == "v"]
    assert found
    assert all(at["could_run"] for one in found for at in one["places"])


def test_a_group_is_gone_when_its_model_arrived_or_a_person_decided(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    submit(hub, "<lora:film:1>")
    other = submit(hub, "<lora:word:1>")[0]
    assert {one["name"] for one in groups(hub)["groups"]} == {"film", "word"}
    hosts.add("attic", BASE, ("lora", "film.safetensors", "film"))
    hub.request(
        "POST",
        f"/api/v1/jobs/{other}/decisions",
        key=hub.admin,
        json={"requirement": 1, "decision": "not_a_model"},
    )
    assert groups(hub) == {"total": 0, "groups": []}
    assert runner.next()["job_id"] == other


def test_a_job_ends_at_its_deadline_and_says_what_it_waited_for(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE)
    late, later, never = submit(hub, "<lora:ink:1>"), submit(hub, "<lora:ink:1>"), submit(hub, "<lora:ink:1>")
    runs = submit(hub, "a cat")[0]
    taken = runner.next()
    assert taken["job_id"] == runs
    now_ms = hub.clock.now_ms()
    edit(hub, late[0], deadline_ms=now_ms + 10_000)
    edit(hub, later[0], deadline_ms=now_ms + 20_000)
    edit(hub, never[0], deadline_ms=None)
    change = hub.hub.notifier.next_change_of(late[0])
    hub.clock.advance(15)
    hub.run(expire(hub.hub))
    assert change.is_set()
    found = hub.request("GET", f"/api/v1/jobs/{late[0]}", key=hub.admin).json()
    assert (found["state"], found["failure"]) == ("failed", "deadline")
    assert found["failure_text"] == "Its deadline passed. Waits for ink: no server has it."
    events = hub.request("GET", f"/api/v1/events?job={late[0]}", key=hub.admin).json()["events"]
    assert (events[-1]["action"], events[-1]["actor"]) == ("job_failed", "hub")
    hub.clock.advance(30 * 86_400)
    hub.run(expire(hub.hub))
    states = [
        hub.request("GET", f"/api/v1/jobs/{one}", key=hub.admin).json()["state"]
        for one in (later[0], never[0], runs)
    ]
    assert states == ["failed", "pending", "processing"]
