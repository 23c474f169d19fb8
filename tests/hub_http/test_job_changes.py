"""Jobs that are there are edited while they wait, run again, starred, accepted and decided about."""

from __future__ import annotations

from typing import Any

import pytest

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
INK = ("lora", "ink.safetensors", "ink lora")
FILM = ("lora", "film.safetensors", "film lora")
PAYLOAD = {
    "prompt": "a cat <lora:ink:1>",
    "seed": 5,
    "steps": 20,
    "override_settings": {"sd_model_checkpoint": "base.safetensors", "eta": 1},
}


def submit(hub: Any, *, key: str | None = None, **body: Any) -> list[str]:
    answer = hub.request("POST", "/api/v1/jobs", key=key or hub.admin, json={"payload": PAYLOAD, **body})
    assert answer.status_code == 202, answer.text
    ids: list[str] = answer.json()["job_ids"]
    return ids


def ask(hub: Any, method: str, path: str, *, key: str | None = None, **options: Any) -> Any:
    return hub.request(method, f"/api/v1/jobs/{path}", key=key or hub.admin, **options)


def edit(hub: Any, job_id: str, **values: Any) -> dict[str, Any]:
    answer = ask(hub, "PATCH", job_id, json=values)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def job(hub: Any, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(hub, "GET", job_id).json()
    return found


def events(hub: Any, job_id: str) -> list[dict[str, Any]]:
    query = f"/api/v1/events?limit=1000&job={job_id}"
    found: list[dict[str, Any]] = hub.request("GET", query, key=hub.admin).json()["events"]
    return found


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def count(hub: Any, table: str) -> int:
    with hub.hub.store.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


# --- edit -------------------------------------------------------------------------------------------------


def test_one_job_of_a_batch_is_edited_and_the_others_keep_theirs(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE, INK, FILM)
    first, other = submit(hub, count=2)
    answer = edit(
        hub,
        first,
        prompt="a dog <lora:film:1>",
        negative_prompt="rain",
        steps=30,
        sampler_name="Euler",
        scheduler="Karras",
        cfg_scale=6.5,
        width=512,
        height=768,
        seed=9,
        checkpoint="",
    )
    edited = answer["job"]
    assert edited["payload"] == {
        "prompt": "a dog <lora:film:1>",
        "negative_prompt": "rain",
        "steps": 30,
        "sampler_name": "Euler",
        "scheduler": "Karras",
        "cfg_scale": 6.5,
        "width": 512,
        "height": 768,
        "seed": 9,
        "override_settings": {"eta": 1},
    }
    assert [(one["name"], one["status"]) for one in edited["requirements"]] == [("film", "found")]
    assert answer["check"]["possible"] is True
    kept = job(hub, other)
    assert kept["payload"] == {**PAYLOAD, "seed": 6}
    assert [one["name"] for one in kept["requirements"]] == ["base.safetensors", "ink"]
    said = events(hub, first)[-1]
    assert (said["action"], said["actor"]) == ("job_edited", f"key:{hub.admin.split('_')[1]}")
    assert "prompt" in said["details"]["changed"]
    assert "dog" not in str(said)


def test_an_edited_job_runs_as_it_is_now_and_where_it_may(hub: Any, hosts: Any) -> None:
    a, b = hosts.add("a", BASE, INK), hosts.add("b", BASE, INK)
    job_id = submit(hub, targets=["a"])[0]
    assert b.next() is None
    assert edit(hub, job_id, targets=["B"], prompt="a dog")["job"]["targets"] == [b.server.server_id]
    assert a.next() is None
    assert b.next()["payload"]["prompt"] == "a dog"


def test_a_whole_new_payload_takes_the_place_of_the_former_and_that_goes(hub: Any) -> None:
    job_id = submit(hub)[0]
    answer = edit(hub, job_id, payload={"prompt": "x", "seed": 77}, steps=4)
    assert answer["job"]["payload"] == {"prompt": "x", "steps": 4, "seed": 77}
    assert answer["job"]["requirements"] == []
    assert (count(hub, "job_payloads"), count(hub, "job_requirements")) == (1, 0)


def test_priority_and_deadline_change_and_null_ends_the_deadline(hub: Any) -> None:
    job_id = submit(hub)[0]
    until = hub.clock.now_ms() + 60_000
    edited = edit(hub, job_id, priority=7, deadline_ms=until)["job"]
    assert (edited["priority"], edited["deadline_ms"]) == (7, until)
    assert edit(hub, job_id, deadline_ms=None)["job"]["deadline_ms"] is None
    idle = hub.join("asks for nothing").server_id
    assert edit(hub, job_id, targets=[idle])["job"]["targets"] == [idle]
    assert edit(hub, job_id, targets=None)["job"]["targets"] is None
    assert count(hub, "job_payloads") == 1


def test_any_seed_becomes_a_number_and_the_payload_stays_shared(hub: Any) -> None:
    first, _ = submit(hub, count=2)
    assert edit(hub, first, seed=-1)["job"]["seed"] >= 0
    assert count(hub, "job_payloads") == 1


def test_a_name_is_changed_in_any_state_and_nothing_else_is(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)[0]
    taken = runner.next()
    answer = edit(hub, job_id, name="mine")
    assert (answer["job"]["name"], answer["check"]) == ("mine", None)
    for values in ({"priority": 1}, {"prompt": "x", "name": "other"}, {"deadline_ms": None}):
        assert refused(ask(hub, "PATCH", job_id, json=values)) == (409, "job_state")
    assert job(hub, job_id)["name"] == "mine"
    runner.work(taken)
    assert edit(hub, job_id, name="done")["job"]["state"] == "completed"


def test_only_the_submitter_and_an_admin_edit_a_job(hub: Any) -> None:
    mine, other = hub.make_key("jobs"), hub.make_key("jobs")
    job_id = submit(hub, key=mine)[0]
    assert ask(hub, "PATCH", job_id, key=mine, json={"name": "x"}).status_code == 200
    assert ask(hub, "PATCH", job_id, key=other, json={"name": "x"}).status_code == 403
    for path in ("star", "retry", "accept", "decisions"):
        body = {"requirement": 0, "decision": "give_up"}
        assert ask(hub, "POST", f"{job_id}/{path}", key=other, json=body).status_code == 403
    assert ask(hub, "PATCH", "none", json={"name": "x"}).status_code == 404


def test_a_page_opened_with_a_key_changes_what_is_that_key_s_and_not_the_owner_s(hub: Any) -> None:
    def signed_in(key: str) -> dict[str, str]:
        answer = hub.request("POST", "/login", data={"key": key}, headers={"Origin": "http://127.0.0.1:8383"})
        cookie = answer.headers["set-cookie"].split(";")[0]
        return {"Cookie": cookie, "Origin": "http://127.0.0.1:8383"}

    def status(method: str, path: str, headers: dict[str, str]) -> int:
        answer = hub.request(method, f"/api/v1/jobs{path}", headers=headers, json={"payload": PAYLOAD})
        return int(answer.status_code)

    key = hub.make_key("jobs")
    owner, guest = signed_in(hub.admin), signed_in(key)
    assert status("POST", "", owner) == status("POST", "", guest) == 202
    owners, guests = (
        job["job_id"] for job in hub.request("GET", "/api/v1/jobs", key=hub.admin).json()["jobs"][::-1]
    )
    assert status("POST", f"/{owners}/star", guest) == 403
    assert status("POST", f"/{guests}/star", guest) == 200
    assert ask(hub, "POST", f"{guests}/unstar", key=key).status_code == 200
    assert status("POST", f"/{guests}/star", owner) == 200


def test_an_edit_that_cannot_be_meant_changes_nothing(hub: Any) -> None:
    job_id = submit(hub)[0]
    before = job(hub, job_id)
    for wrong in (
        {"steps": 0},
        {"width": 100_000},
        {"cfg_scale": -1},
        {"priority": 11},
        {"seed": 2**63},
        {"targets": []},
        {"payload": {"batch_size": 1000}},
        {"seed": "SECRET"},
        {"name": "SECRET\n"},
        {"deadline_ms": 5},
        {"deadline_ms": 2**60},
        {"payload": {"seed": "SECRET"}},
    ):
        answer = ask(hub, "PATCH", job_id, json={"prompt": "SECRET", **wrong})
        assert refused(answer) == (400, "invalid_value"), wrong
        assert "SECRET" not in answer.text
    assert ask(hub, "PATCH", job_id, json={"targets": ["nobody"]}).status_code == 404
    assert job(hub, job_id) == before


# --- again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "expected"), [("same", 5), (42, 42), ("new", None)])
def test_a_job_is_run_again_as_a_new_one(hub: Any, seed: Any, expected: int | None) -> None:
    idle = hub.join("asks for nothing").server_id
    job_id = submit(hub, name="mine", priority=3, targets=[idle])[0]
    answer = ask(hub, "POST", f"{job_id}/again", json={"seed": seed})
    assert answer.status_code == 202, answer.text
    new = job(hub, answer.json()["job_id"])
    assert new["job_id"] != job_id
    assert new["batch_id"] != job(hub, job_id)["batch_id"]
    assert (new["state"], new["name"], new["priority"], new["targets"]) == ("pending", "mine", 3, [idle])
    assert new["payload"] == {**PAYLOAD, "seed": new["seed"]}
    assert new["seed"] == expected if expected is not None else new["seed"] != 5
    assert new["deadline_ms"] is not None
    assert count(hub, "job_payloads") == 1


def test_a_job_that_runs_again_is_looked_up_again_and_the_former_keeps_what_it_was(
    hub: Any, hosts: Any
) -> None:
    hosts.add("forge", BASE)
    job_id = submit(hub)[0]
    ask(hub, "POST", f"{job_id}/cancel")
    hosts.add("other", BASE, INK)
    new = ask(hub, "POST", f"{job_id}/again", json={}).json()
    assert new["check"]["possible"] is True
    assert [one["status"] for one in job(hub, new["job_id"])["requirements"]] == ["found", "found"]
    assert [one["status"] for one in job(hub, job_id)["requirements"]] == ["found", "missing"]
    assert ask(hub, "DELETE", job_id).status_code == 204
    assert count(hub, "job_payloads") == 1


def test_a_hash_that_a_text_stated_still_counts_when_it_runs_again_and_when_it_is_edited(
    hub: Any, hosts: Any
) -> None:
    runner = hosts.add("forge", BASE, ("lora", "tusche.safetensors", "ink lora"))
    sha256 = runner.webui.inventory()["upserts"][1]["digests"]["sha256"]
    text = f'a cat <lora:ink:1>\nSteps: 20, Sampler: Euler, Size: 512x512, Lora hashes: "ink: {sha256[:10]}"'
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"infotext": text})
    first = answer.json()["job_id"]
    again = ask(hub, "POST", f"{first}/again", json={}).json()["job_id"]
    edited = edit(hub, first, steps=5)["job"]
    for found in (job(hub, again), edited):
        assert [one["sha256"] for one in found["requirements"]] == [sha256]


def test_who_runs_another_s_job_again_gets_a_job_of_their_own(hub: Any) -> None:
    mine, other = hub.make_key("jobs"), hub.make_key("jobs")
    job_id = submit(hub, key=mine)[0]
    new = ask(hub, "POST", f"{job_id}/again", key=other, json={}).json()["job_id"]
    decision = {"requirement": 0, "decision": "not_a_model"}
    assert ask(hub, "POST", f"{new}/decisions", key=other, json=decision).json()["job_ids"] == [new]
    assert ask(hub, "POST", f"{job_id}/again", key=hub.make_key("view"), json={}).status_code == 403
    for body in ({"seed": "any"}, {"seed": 2**63}, {"seed": -5}):
        assert refused(ask(hub, "POST", f"{job_id}/again", json=body)) == (400, "invalid_value")


# --- star, accept -----------------------------------------------------------------------------------------


def test_a_job_is_starred_and_unstarred(hub: Any) -> None:
    job_id = submit(hub)[0]
    assert ask(hub, "POST", f"{job_id}/star").json()["starred"] is True
    assert ask(hub, "POST", f"{job_id}/unstar").json()["starred"] is False
    assert [event["action"] for event in events(hub, job_id)][-2:] == ["job_starred", "job_unstarred"]


def wrong_picture(hub: Any, hosts: Any) -> str:
    """A job that failed because its picture was made with another LoRA."""
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)[0]
    taken = runner.next()
    runner.webui.faults.blind = True
    runner.webui.files[1].content = "another lora"
    runner.work(taken)
    found = job(hub, job_id)
    assert (found["state"], found["outcome"]) == ("failed", "wrong")
    return job_id


def test_a_person_accepts_a_wrong_picture_once_and_that_is_the_only_way_out_of_an_end(
    hub: Any, hosts: Any
) -> None:
    waiting = submit(hub, targets=[hub.join("asks for nothing").alias])[0]
    job_id = wrong_picture(hub, hosts)
    accepted = ask(hub, "POST", f"{job_id}/accept").json()
    assert (accepted["state"], accepted["outcome"]) == ("completed", "accepted")
    assert (accepted["failure"], len(accepted["pictures"])) == (None, 1)
    said = events(hub, job_id)[-1]
    assert (said["action"], said["actor"]) == ("job_accepted", f"key:{hub.admin.split('_')[1]}")
    for job in (job_id, waiting):
        assert refused(ask(hub, "POST", f"{job}/accept")) == (409, "job_state")
    assert refused(ask(hub, "POST", f"{job_id}/cancel")) == (409, "job_state")


def test_what_failed_for_another_reason_is_not_accepted(hub: Any, hosts: Any) -> None:
    job_id = wrong_picture(hub, hosts)
    with hub.hub.store.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET outcome = NULL")
    assert refused(ask(hub, "POST", f"{job_id}/accept")) == (409, "job_state")


# --- decisions --------------------------------------------------------------------------------------------


def decide(hub: Any, job_id: str, decision: str, requirement: int = 1, **more: Any) -> Any:
    body = {"requirement": requirement, "decision": decision, **more}
    return ask(hub, "POST", f"{job_id}/decisions", json=body)


def test_a_job_runs_anyway_on_one_server_or_because_a_word_is_no_model(hub: Any, hosts: Any) -> None:
    a, b = hosts.add("a", BASE), hosts.add("b", BASE)
    first, second = submit(hub, count=2)
    assert a.next() is None
    assert b.next() is None
    answer = decide(hub, first, "run_anyway", server="b").json()
    assert answer["job_ids"] == [first, second]
    assert a.next() is None
    assert b.next()["job_id"] == first
    said = events(hub, second)[-1]
    assert (said["action"], said["alias"]) == ("job_decided", "b")
    assert said["details"] == {"requirement": 1, "decision": "run_anyway"}
    assert decide(hub, second, "not_a_model").json()["job_ids"] == [second]
    assert a.next()["job_id"] == second


def test_giving_up_cancels_what_waits_and_nothing_else(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    ids = submit(hub, count=3)
    other = submit(hub)[0]
    runner.next()
    assert decide(hub, ids[1], "give_up").json()["job_ids"] == ids[1:]
    states = [job(hub, job_id)["state"] for job_id in (*ids, other)]
    assert states == ["processing", "cancelled", "cancelled", "pending"]
    assert events(hub, ids[2])[-1]["action"] == "job_given_up"
    assert refused(decide(hub, ids[2], "not_a_model")) == (409, "job_state")


def test_a_decision_needs_a_model_and_a_server_that_are_there(hub: Any) -> None:
    job_id = submit(hub)[0]
    assert decide(hub, job_id, "not_a_model", 2).status_code == 404
    assert decide(hub, job_id, "not_a_model", 2**70).status_code == 404
    assert decide(hub, job_id, "run_anyway", server="nobody").status_code == 404
    assert refused(decide(hub, job_id, "not_a_model", server="nobody")) == (400, "invalid_value")


def test_a_decision_outlives_an_edit_that_names_the_model_as_before(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE)
    job_id = submit(hub)[0]
    decide(hub, job_id, "not_a_model")
    edit(hub, job_id, prompt="a dog <lora:ink:1>")
    assert runner.next()["payload"]["prompt"] == "a dog <lora:ink:1>"


def test_a_server_that_sent_a_job_back_gets_it_again_when_a_person_says_so(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = submit(hub)[0]
    runner.refuse(runner.next(), "model_missing", 1)
    assert runner.next() is None
    assert ask(hub, "POST", f"{job_id}/retry").json()["state"] == "pending"
    assert events(hub, job_id)[-1]["action"] == "job_retried"
    assert runner.next()["job_id"] == job_id
    assert refused(ask(hub, "POST", f"{job_id}/retry")) == (409, "job_state")


# --- many -------------------------------------------------------------------------------------------------


def act(hub: Any, action: str, ids: list[str], **more: Any) -> dict[str, str | None]:
    answer = ask(hub, "POST", "actions", json={"action": action, "ids": ids, **more})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    return {one["job_id"]: one["problem"] and one["problem"]["code"] for one in results}


def test_many_jobs_are_changed_at_once_and_each_says_what_came_of_it(hub: Any) -> None:
    ids = submit(hub, count=4)
    assert act(hub, "cancel", [ids[0], ids[0], "none"]) == {ids[0]: None, "none": "not_found"}
    assert act(hub, "cancel", ids[:2]) == {ids[0]: "job_state", ids[1]: None}
    assert act(hub, "priority", ids[1:], value=4) == {ids[1]: "job_state", ids[2]: None, ids[3]: None}
    assert act(hub, "star", ids[:1]) == {ids[0]: None}
    assert act(hub, "retry", ids[2:3]) == {ids[2]: None}
    found = [job(hub, job_id) for job_id in ids]
    assert [one["state"] for one in found] == ["cancelled", "cancelled", "pending", "pending"]
    assert [one["priority"] for one in found] == [0, 0, 4, 4]
    assert [one["starred"] for one in found] == [True, False, False, False]
    assert act(hub, "unstar", ids[:1]) == {ids[0]: None}
    assert set(act(hub, "delete", ids).values()) == {None}
    assert (count(hub, "jobs"), count(hub, "job_payloads")) == (0, 0)


def test_many_jobs_of_others_are_left_alone(hub: Any) -> None:
    mine, other = hub.make_key("jobs"), hub.make_key("jobs")
    own, foreign = submit(hub, key=mine)[0], submit(hub, key=other)[0]
    body = {"action": "delete", "ids": [foreign, own]}
    results = ask(hub, "POST", "actions", key=mine, json=body).json()["results"]
    assert [one["problem"] and one["problem"]["code"] for one in results] == ["forbidden", None]
    assert job(hub, foreign)["state"] == "pending"


def test_an_action_that_cannot_be_meant_is_refused(hub: Any) -> None:
    job_id = submit(hub)[0]
    for body in (
        {"action": "explode", "ids": [job_id]},
        {"action": "priority", "ids": [job_id]},
        {"action": "priority", "ids": [job_id], "value": 11},
    ):
        assert refused(ask(hub, "POST", "actions", json=body)) == (400, "invalid_value")
    many = {"action": "star", "ids": ["x"] * 501}
    assert refused(ask(hub, "POST", "actions", json=many)) == (413, "too_large")


def test_a_deleted_job_takes_its_pictures_along(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, INK)
    ids = submit(hub, count=2)
    while (taken := runner.next()) is not None:
        runner.work(taken)
    folder = hub.hub.pictures.folder
    assert all(list((folder / job_id).iterdir()) for job_id in ids)
    assert ask(hub, "DELETE", ids[0]).status_code == 204
    assert act(hub, "delete", ids[1:]) == {ids[1]: None}
    assert list(folder.iterdir()) == []
