"""Jobs are always queued, once for each idempotency key, and go without a trace of their prompt."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_hub.background.tasks import expire

ON_BOTH_DATABASES = True
SECRET = "a cat nobody may know of <lora:ink:1>"


def submit(hub: Any, *, key: str | None = None, **body: Any) -> Any:
    return hub.request(
        "POST", "/api/v1/jobs", key=key or hub.admin, json={"payload": {"prompt": SECRET}, **body}
    )


def submitted(hub: Any, **options: Any) -> dict[str, Any]:
    answer = submit(hub, **options)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def read(hub: Any, path: str) -> dict[str, Any]:
    answer = hub.request("GET", f"/api/v1/jobs{path}", key=hub.admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_impossible_job_is_queued_with_a_warning(hub: Any) -> None:
    answer = submitted(hub)
    assert answer["check"]["possible"] is False
    job = read(hub, f"/{answer['job_id']}")
    assert (job["state"], job["payload"]["prompt"]) == ("pending", SECRET)
    assert [(r["role"], r["name"], r["status"]) for r in job["requirements"]] == [("lora", "ink", "missing")]


@pytest.mark.parametrize(
    ("rule", "expected"), [("same", [7, 7, 7]), ("increment", [7, 8, 9]), ("random", None)]
)
def test_a_count_makes_jobs_that_differ_in_their_seed(
    hub: Any, rule: str, expected: list[int] | None
) -> None:
    answer = submitted(hub, payload={"prompt": "x", "seed": 7}, count=3, seed_rule=rule)
    seeds = [read(hub, f"/{job_id}")["payload"]["seed"] for job_id in answer["job_ids"]]
    assert len(set(answer["job_ids"])) == 3
    assert seeds[0] == 7
    if expected is None:
        assert len(set(seeds)) == 3
    else:
        assert seeds == expected


def test_any_seed_becomes_one_that_can_be_repeated(hub: Any) -> None:
    answer = submitted(hub, payload={"seed": -1}, count=2, seed_rule="same")
    first, second = (read(hub, f"/{job_id}")["seed"] for job_id in answer["job_ids"])
    assert first == second >= 0


def test_seeds_of_64_bits_from_other_programs_are_kept(hub: Any) -> None:
    text = "a cat\nSteps: 20, Sampler: Euler, Seed: 156680208700286, Size: 64x64"
    answer = submitted(hub, payload=None, infotext=text)
    assert read(hub, f"/{answer['job_id']}")["payload"]["seed"] == 156680208700286
    answer = submitted(hub, payload={"seed": 2**63 - 1}, count=2)
    seeds = [read(hub, f"/{job_id}")["seed"] for job_id in answer["job_ids"]]
    assert seeds == [2**63 - 1, 0]


def test_the_same_submission_again_is_answered_and_not_queued_again(hub: Any) -> None:
    first = submitted(hub, idempotency_key="k", count=2)
    again = submitted(hub, idempotency_key="k", count=2)
    assert again["job_ids"] == first["job_ids"]
    assert (first["repeated"], again["repeated"]) == (False, True)
    other = submit(hub, idempotency_key="k", count=3)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    # Another submitter's key is another key.
    assert submitted(hub, key=hub.make_key("jobs"), idempotency_key="k")["job_id"] not in first["job_ids"]
    assert read(hub, "")["total"] == 3
    hub.clock.advance(49 * 3600)
    hub.run(expire(hub.hub))
    assert submitted(hub, idempotency_key="k", count=3)["repeated"] is False


def test_a_submission_is_the_same_whatever_the_order_of_its_keys_and_the_writing_of_its_numbers(
    hub: Any,
) -> None:
    def send(body: str) -> Any:
        return hub.request("POST", "/api/v1/jobs", key=hub.admin, content=body)

    first = send('{"payload": {"prompt": "x", "steps": 5, "a": {"b": 1, "c": [2]}}, "idempotency_key": "k"}')
    for same in (
        '{"idempotency_key": "k", "payload": {"a": {"c": [2.0], "b": 1}, "steps": 5.0, "prompt": "x"}}',
        '{"payload": {"prompt": "x", "steps": 0.5e1, "a": {"b": 1, "c": [2]}}, '
        '"idempotency_key": "k", "name": ""}',
    ):
        again = send(same)
        assert again.status_code == 202, again.text
        assert (again.json()["repeated"], again.json()["job_ids"]) == (True, first.json()["job_ids"])
    for other in ('"steps": 5.5, "a": {"b": 1, "c": [2]}', '"steps": 5, "a": {"b": true, "c": [2]}'):
        refused = send(f'{{"payload": {{"prompt": "x", {other}}}, "idempotency_key": "k"}}')
        assert refused.json()["error"]["code"] == "idempotency_key_reused"


def test_a_submission_is_answered_again_when_its_servers_were_forgotten(hub: Any, hosts: Any) -> None:
    target = hosts.add("attic", ("lora", "ink.safetensors", "ink"))
    body = {"targets": ["attic"], "server": "attic", "idempotency_key": "k"}
    first = submitted(hub, **body)
    text = {"payload": None, "infotext": "a dog\nSteps: 20, Sampler: Euler, Seed: 7, Size: 64x64", **body}
    of_text = submitted(hub, **{**text, "idempotency_key": "text"})
    path = f"/api/v1/servers/{target.server.server_id}"
    assert hub.request("DELETE", path, key=hub.admin).status_code == 204
    again = submitted(hub, **body)
    assert (again["repeated"], again["job_ids"]) == (True, first["job_ids"])
    assert (again["check"]["possible"], again["check"]["servers"]) == (False, [])
    assert again["check"]["requirements"][0]["name"] == "ink"
    again = submitted(hub, **{**text, "idempotency_key": "text"})
    assert again["check"]["payload"] == of_text["check"]["payload"]
    # Another key is a new submission, and that server is not known.
    assert submit(hub, **{**body, "idempotency_key": "l"}).status_code == 404


def test_the_list_is_read_in_pages_newest_first(hub: Any) -> None:
    ids = submitted(hub, count=5)["job_ids"]
    first = read(hub, "?limit=2")
    rest = read(hub, f"?limit=3&before={first['next']}")
    assert [job["job_id"] for job in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert (first["total"], rest["next"]) == (5, None)
    assert "prompt" not in str(first)
    assert read(hub, "?state=completed")["total"] == 0


def test_a_job_is_cancelled_once_and_by_its_submitter_or_an_admin(hub: Any) -> None:
    mine, other = hub.make_key("jobs"), hub.make_key("jobs")
    job_id = submitted(hub, key=mine)["job_id"]
    path = f"/api/v1/jobs/{job_id}"
    for method, where in (("POST", f"{path}/cancel"), ("DELETE", path)):
        assert hub.request(method, where, key=other).status_code == 403
    assert hub.request("POST", f"{path}/cancel", key=mine).json()["state"] == "cancelled"
    again = hub.request("POST", f"{path}/cancel", key=hub.admin)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job_state")
    assert hub.request("POST", "/api/v1/jobs/none/cancel", key=hub.admin).status_code == 404


def test_a_deleted_job_leaves_neither_prompt_nor_events(hub: Any) -> None:
    answer = submitted(hub, count=2, idempotency_key="k")
    for number, job_id in enumerate(answer["job_ids"]):
        assert hub.request("DELETE", f"/api/v1/jobs/{job_id}", key=hub.admin).status_code == 204
        events = hub.request("GET", "/api/v1/events", key=hub.admin).text
        assert job_id not in events
        with hub.hub.store.read() as connection:
            left = connection.exec_driver_sql("SELECT count(*) FROM job_payloads").scalar_one()
        assert left == (1 if number == 0 else 0)
        assert hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).status_code == 404
    assert submitted(hub, count=2, idempotency_key="k")["repeated"] is False


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 1_001},
        {"priority": 11},
        {"name": "a\nb"},
        {"idempotency_key": "x" * 201},
        {"payload": {"seed": True}},
        {"payload": {"seed": 2**63}},
        {"targets": []},
        {"payload": None},
        {"payload": {"prompt": "a cat", "batch_size": 8, "n_iter": 33}},
    ],
)
def test_what_cannot_be_queued_is_refused_without_repeating_it(hub: Any, wrong: dict[str, Any]) -> None:
    refused = submit(hub, **wrong)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    assert read(hub, "")["total"] == 0


def test_no_event_holds_a_prompt(hub: Any) -> None:
    submitted(hub, name="mine")
    events = hub.request("GET", "/api/v1/events", key=hub.admin).json()["events"]
    assert "job_submitted" in [event["action"] for event in events]
    assert "nobody may know" not in str(events)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", "many"), ("prompt", ["a"]), ("width", -5), ("override_settings", []), ("enable_hr", "maybe")],
)
def test_a_job_that_is_wrong_in_itself_is_refused_and_the_check_says_so(
    hub: Any, field: str, value: Any
) -> None:
    payload = {"prompt": "x", field: value}
    refused = submit(hub, payload=payload)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    assert f"`{field}`" in refused.json()["error"]["message"]
    checked = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json={"payload": payload}).json()
    assert checked["possible"] is False
    assert f"`{field}`" in checked["warnings"][0]
    assert read(hub, "")["total"] == 0


def test_an_unknown_field_is_warned_of_and_keeps_the_job_from_servers_that_lack_it(
    hub: Any, hosts: Any
) -> None:
    its, fields = hosts.add("attic", ("checkpoint", "base.safetensors", "base")), ["prompt", "steps"]
    path = f"/api/v1/servers/{its.server.server_id}/capabilities"
    told = {"webui": "forge", "works_for_others": "always", "fields": fields}
    assert hub.request("PUT", path, key=its.server.key, json=told).status_code == 204
    its.next()
    answer = submitted(hub, payload={"prompt": "x", "checkpoint": "base.safetensors", "steps": "3"})
    check = answer["check"]
    assert check["possible"] is False
    assert "override_settings.sd_model_checkpoint" in check["warnings"][0]
    reasons = [reason for server in check["servers"] for reason in server["reasons"]]
    assert [reason["code"] for reason in reasons] == ["field_unknown"]
    assert "“checkpoint”" in reasons[0]["text"]
    assert its.next() is None
    why = read(hub, f"/{answer['job_id']}/why")
    assert why["waiting_code"] == "field_unknown"
    # A WebUI that says its API has the field takes it; so does the job once it is put right.
    told["fields"] = [*fields, "checkpoint"]
    assert hub.request("PUT", path, key=its.server.key, json=told).status_code == 204
    job = its.next()
    assert job is not None
    assert job["payload"]["checkpoint"] == "base.safetensors"
    assert job["payload"]["steps"] == 3
