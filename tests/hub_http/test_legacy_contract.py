"""What clients of the old StableQueue send and read, by tables: each endpoint, its fields and their types.

The tables are the recorded contract. Answers may hold more than they list.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from stablequeue_hub.access.keys import create_pair
from stablequeue_hub.jobs.rows import BRIEF_CHARACTERS, brief_text
from stablequeue_hub.store.tables import job_payloads, jobs

ON_BOTH_DATABASES = True

BASE = ("checkpoint", "sd/base.safetensors", "base checkpoint")
INK = ("lora", "ink.safetensors", "ink lora")


def sha256_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


# --- forms ------------------------------------------------------------------------------------------------

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UTC = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
STATES = ("pending", "processing", "completed", "failed", "cancelled")
TEXT_OR_NULL = (str, type(None))
INT_OR_NULL = (int, type(None))

AVAILABILITY = {
    "available": bool,
    "reason": TEXT_OR_NULL,
    "civitai_model_id": (int, str, type(None)),
    "hash": TEXT_OR_NULL,
    "match_type": TEXT_OR_NULL,
    "checked_field": str,
    "model_identifier": TEXT_OR_NULL,
}
STATUS_V1 = {
    "mobilesd_job_id": str,
    "stablequeue_job_id": str,
    "status": str,
    "creation_timestamp": ISO,
    "last_updated_timestamp": ISO,
    "completion_timestamp": (ISO, type(None)),
    "target_server_alias": TEXT_OR_NULL,
    "forge_session_hash": type(None),
    "generation_params": dict,
    "result_details": (dict, type(None)),
    "retry_count": int,
    "model_availability": AVAILABILITY,
}
ROW_V1 = {
    **STATUS_V1,
    "generation_params_json": str,
    "result_details_json": TEXT_OR_NULL,
    "forge_internal_task_id": type(None),
}
ROW_V2 = {**ROW_V1, "app_type": str, "source_info": str, "api_key_id": TEXT_OR_NULL}
STATUS_V2 = {
    **STATUS_V1,
    "app_type": str,
    "source_info": str,
    "api_key_id": TEXT_OR_NULL,
    "queue_position": INT_OR_NULL,
    "estimated_time_remaining": INT_OR_NULL,
}
DETAILS = {
    "completed": {
        "message": str,
        "submission_type": str,
        "generation_info": dict,
        "saved_filenames": [str],
        "images": [str],
        "positive_prompt": str,
        "negative_prompt": str,
    },
    "failed": {"error": str, "details": TEXT_OR_NULL},
    "cancelled": {"cancelled": bool, "message": str},
}
SERVER = {"server_id": str, "alias": str, "apiUrl": TEXT_OR_NULL, "auth": type(None)}
PICTURE = {"filename": str, "created": ISO, "size": int, "job_id_prefix": str}
FAILURE_V1 = {"error": str}
FAILURE_SERVERS = {"message": str}
FAILURE_V2 = {"success": bool, "error": str, "message": str, "details": {"customMessage": str}}
UNAUTHORISED = {"error": str, "message": str}


def assert_form(value: Any, form: Any, where: str = "answer") -> None:
    """``value`` has at least what ``form`` lists, of those types."""
    if isinstance(form, tuple):
        assert any(_fits(value, one) for one in form), (where, value)
    elif isinstance(form, dict):
        assert isinstance(value, dict), (where, value)
        for name, inner in form.items():
            assert name in value, (where, name)
            assert_form(value[name], inner, f"{where}.{name}")
    elif isinstance(form, list):
        assert isinstance(value, list), (where, value)
        for number, item in enumerate(value):
            assert_form(item, form[0], f"{where}[{number}]")
    else:
        assert _fits(value, form), (where, value, form)


def _fits(value: Any, form: Any) -> bool:
    if isinstance(form, re.Pattern):
        return isinstance(value, str) and form.fullmatch(value) is not None
    return type(value) is form or (form is dict and isinstance(value, dict))


# --- an old client ----------------------------------------------------------------------------------------


class OldClient:
    """With a pair of its own, sent as two headers or as one."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        with hub.hub.store.write() as connection:
            self.pair = create_pair(connection, actor="hub", now_ms=hub.clock.now_ms())
        self.headers = {"X-API-Key": self.pair.key, "X-API-Secret": self.pair.secret}

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        headers = options.pop("headers", self.headers)
        more = {} if body is None else {"json": body}
        return self.hub.request(method, path, headers=headers, **more, **options)

    def read(self, path: str, form: Any, status: int = 200) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == status, answer.text
        assert_form(answer.json(), form, path)
        return answer.json()

    def submit(self, version: int = 2, alias: str = "forge", **fields: Any) -> str:
        body = {"target_server_alias": alias, "generation_params": PARAMS, **fields}
        answer = self.ask("POST", f"/api/v{version}/generate", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["mobilesd_job_id"])


@pytest.fixture
def client(hub: Any) -> OldClient:
    return OldClient(hub)


PARAMS = {
    "positive_prompt": "a cat <lora:ink:0.8>",
    "negative_prompt": "blurry",
    "checkpoint_name": "sd\\base.safetensors",
    "steps": 12,
    "width": 640,
    "seed": 7,
}
RAW = (
    "a cat <lora:ink:0.8>\nNegative prompt: blurry\n"
    "Steps: 12, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 640x512, Model hash: {hash}, Model: base"
)


# --- submission -------------------------------------------------------------------------------------------

SUBMITTED = {
    1: {"mobilesd_job_id": str, "stablequeue_job_id": str},
    2: {
        "success": bool,
        "mobilesd_job_id": str,
        "stablequeue_job_id": str,
        "queue_position": int,
        "app_type": str,
        "creation_timestamp": ISO,
        "target_server_alias": str,
    },
}


@pytest.mark.parametrize("version", [1, 2])
def test_old_parameters_become_the_webuis_payload(
    hub: Any, hosts: Any, client: OldClient, version: int
) -> None:
    hosts.add("forge", BASE, INK)
    body = {"target_server_alias": "FORGE", "generation_params": {**PARAMS, "app_type": "comfy"}}
    answer = client.ask("POST", f"/api/v{version}/generate", body)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert_form(made, SUBMITTED[version])
    assert made["mobilesd_job_id"] == made["stablequeue_job_id"]
    job = hub.request("GET", f"/api/v1/jobs/{made['mobilesd_job_id']}", key=hub.admin).json()
    assert job["payload"] == {
        "prompt": "a cat <lora:ink:0.8>",
        "negative_prompt": "blurry",
        "steps": 12,
        "sampler_name": "Euler a",
        "cfg_scale": 7,
        "width": 640,
        "height": 512,
        "seed": 7,
        "batch_size": 1,
        "n_iter": 1,
        "override_settings": {"sd_model_checkpoint": "sd/base.safetensors"},
    }
    assert {one["name"]: one["status"] for one in job["requirements"]} == {
        "sd/base.safetensors": "found",
        "ink": "found",
    }
    assert len(job["targets"]) == 1
    shown = client.read(f"/api/v2/jobs/{made['mobilesd_job_id']}/status", {"success": bool, "job": STATUS_V2})
    assert shown["job"]["app_type"] == ("comfy" if version == 1 else "forge")
    params = shown["job"]["generation_params"]
    assert (params["positive_prompt"], params["checkpoint_name"]) == (
        PARAMS["positive_prompt"],
        "sd/base.safetensors",
    )


REFUSED = [
    ({}, "target_server_alias", "missing_required_field", 400, "target_server_alias is required"),
    (
        {"target_server_alias": 5, "generation_params": PARAMS},
        "target_server_alias",
        "missing_required_field",
        400,
        "target_server_alias is required",
    ),
    (
        {"target_server_alias": "none", "generation_params": {}},
        "generation_params",
        "invalid_field_value",
        400,
        "Invalid or empty generation_params object provided",
    ),
    (
        {"target_server_alias": "none", "generation_params": {"steps": "many"}},
        "generation_params",
        "invalid_field_value",
        400,
        "`steps` must be a number.",
    ),
    (
        {"target_server_alias": "none", "generation_params": PARAMS},
        None,
        "server_not_found",
        404,
        "Server with alias 'none' not found.",
    ),
]


def test_what_cannot_be_queued_is_refused_in_the_form_of_each_version(client: OldClient) -> None:
    for body, field, code, status, message in REFUSED:
        first = client.ask("POST", "/api/v1/generate", body)
        assert first.status_code == status
        assert_form(first.json(), FAILURE_V1)
        assert first.json()["error"] == message
        second = client.ask("POST", "/api/v2/generate", body)
        assert second.status_code == status
        found = second.json()
        assert_form(found, FAILURE_V2)
        assert (found["success"], found["error"], found["message"]) == (False, code, message)
        where = ("alias", "none") if field is None else ("field", field)
        assert found["details"][where[0]] == where[1]


def test_a_body_that_is_no_json_is_refused_and_not_shown_a_trace(client: OldClient) -> None:
    for version, form in ((1, FAILURE_V1), (2, FAILURE_V2)):
        answer = client.ask("POST", f"/api/v{version}/generate", content=b'{"x": ')
        assert answer.status_code == 400
        assert_form(answer.json(), form)
        assert "Traceback" not in answer.text


def test_what_no_database_stores_is_answered_all_the_same(hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE, INK)
    for path in (
        "/api/v2/jobs/a%00b/status",
        "/api/v1/queue/jobs/a%00b/status",
        "/outputs/a%00b",
    ):
        assert client.ask("GET", path).status_code == 404, path
    refused = client.ask("GET", "/api/v2/jobs?app_type=a%00b")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_field_value")
    body = {"target_server_alias": "a\x00b", "generation_params": PARAMS}
    assert client.ask("POST", "/api/v2/generate", body).status_code == 404
    for params in ({"prompt": "a\x00b", "checkpoint_name": "a\x00b"}, {"prompt": "<lora:a\x00b:1>"}):
        body = {"target_server_alias": "forge", "generation_params": params, "source_info": "a\x00b"}
        assert client.ask("POST", "/api/v2/generate", body).status_code == 202
    body = {"target_server_alias": "forge", "generation_info_raw": "a\x00b <lora:a\x00b:1>"}
    assert client.ask("POST", "/api/v2/generate", body).status_code == 202
    assert client.read("/api/v2/jobs", {"jobs": [ROW_V2]})["total"] == 3


def test_the_text_under_a_picture_is_a_job_and_its_hash_decides(
    hub: Any, hosts: Any, client: OldClient
) -> None:
    host = hosts.add("forge", ("checkpoint", "renamed.safetensors", "base checkpoint"), INK)
    sha256 = sha256_of("base checkpoint")
    body = {"target_server_alias": "forge", "generation_info_raw": RAW.format(hash=sha256[:10])}
    answer = client.ask("POST", "/api/v2/generate", {**body, "source_info": "my script"})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["mobilesd_job_id"]
    shown = client.read(f"/api/v2/jobs/{job_id}/status", {"success": bool, "job": STATUS_V2})["job"]
    assert shown["source_info"] == "my script"
    assert shown["generation_params"]["raw_generation_info"] == body["generation_info_raw"]
    assert shown["model_availability"] == {
        "available": True,
        "reason": None,
        "civitai_model_id": None,
        "hash": sha256[:10],
        "match_type": "autov2",
        "checked_field": "hash pattern in raw_generation_info",
        "model_identifier": sha256[:10],
    }
    assert host.next()["payload"]["override_settings"]["sd_model_checkpoint"] == "renamed.safetensors"
    # Version 1 never took it.
    assert client.ask("POST", "/api/v1/generate", body).status_code == 400


HASHES = [
    ({"model_hash": "{autov2}"}, "model_hash field", "autov2"),
    ({"checkpoint_hash": "0x{AUTOV2}"}, "checkpoint_hash field", "autov2"),
    ({"sha256_hash": "{SHA256}"}, "sha256_hash field", "sha256"),
    ({"checkpoint": {"hash": "{autov2}"}}, "checkpoint.hash field", "autov2"),
    ({"model_info": {"hash": "{sha256}"}}, "model_info.hash field", "sha256"),
    ({"model_hash": "not a hash", "hash": "{autov2}"}, "hash field", "autov2"),
]


def test_a_hash_finds_the_checkpoint_under_any_name(hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE)
    sha256 = sha256_of("base checkpoint")
    words = {"autov2": sha256[:10], "AUTOV2": sha256[:10].upper(), "sha256": sha256, "SHA256": sha256.upper()}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        return value.format(**words)

    for fields, source, match_type in HASHES:
        params = {"prompt": "x", "checkpoint_name": "another name", **filled(fields)}
        job_id = client.submit(generation_params=params)
        found = client.read(f"/api/v1/queue/jobs/{job_id}/status", STATUS_V1)["model_availability"]
        assert (found["available"], found["checked_field"], found["match_type"]) == (True, source, match_type)
        assert sha256.startswith(found["hash"])


def test_the_old_fields_of_parameters_come_back_as_they_were_sent(
    hub: Any, hosts: Any, client: OldClient
) -> None:
    runner = hosts.add("forge", BASE)
    sha256 = sha256_of("base checkpoint")
    for fields in (
        {"checkpoint_hash": sha256[:10].upper(), "sd_model_name": "base"},
        {"model_hash": "not a hash", "sha256_hash": sha256, "sampler": "Euler"},
        {"checkpoint": {"hash": sha256[:10], "name": "b"}, "sd_checkpoint": "sd/base.safetensors"},
        {"autov2_hash": sha256[:10], "hash": None, "mine": [1]},
    ):
        job_id = client.submit(generation_params={"prompt": "x", "positive_prompt": "y", **fields})
        params = client.read(f"/api/v1/queue/jobs/{job_id}/status", STATUS_V1)["generation_params"]
        sent = {name: value for name, value in fields.items() if value is not None}
        assert {name: params.get(name) for name in sent} == sent
        # They do not reach the WebUI.
        assert not {*fields} & {*runner.next()["payload"]}
        client.ask("POST", f"/api/v1/queue/jobs/{job_id}/cancel")


def test_availability_is_that_of_the_jobs_own_server(hub: Any, hosts: Any, client: OldClient) -> None:
    hosts.add("forge")
    other = hosts.add("other", BASE)
    sha256 = sha256_of("base checkpoint")
    there = client.submit(alias="other", generation_params={"prompt": "x", "model_hash": sha256})
    missing = client.submit(generation_params={"prompt": "x", "model_hash": sha256})
    unknown = client.submit(generation_params={"prompt": "x", "model_hash": "0" * 10})
    nothing = client.submit(generation_params={"prompt": "x"})
    found = {
        job["mobilesd_job_id"]: job["model_availability"]
        for job in client.read("/api/v2/jobs", {"jobs": [ROW_V2]})["jobs"]
    }
    assert found[there]["available"] is True
    assert (found[missing]["available"], found[missing]["reason"]) == (
        False,
        "Model is not on the job's server",
    )
    assert found[unknown] == {
        "available": False,
        "reason": "Model not found in local database (no hash match)",
        "civitai_model_id": None,
        "hash": "0" * 10,
        "match_type": None,
        "checked_field": "model_hash field",
        "model_identifier": "0" * 10,
    }
    assert found[nothing] == {
        "available": False,
        "reason": "No model hash found in any field",
        "civitai_model_id": None,
        "hash": None,
        "match_type": None,
        "checked_field": "N/A",
        "model_identifier": None,
    }
    assert other.next()["job_id"] == there


def test_a_brief_payload_has_its_shortest_values_and_says_that_there_is_a_picture() -> None:
    long = {"init_images": ["A" * BRIEF_CHARACTERS], "mask": "B" * BRIEF_CHARACTERS}
    many = {f"a{number}": "x" * 1000 for number in range(100)}
    brief = json.loads(brief_text({"prompt": "a cat", **long, **many, "steps": 20}))
    assert (brief["prompt"], brief["steps"], brief["init_images"], "mask" in brief) == (
        "a cat",
        20,
        [],
        False,
    )
    assert 20 < len(brief) < 40
    assert len(brief_text({**long, **many})) < BRIEF_CHARACTERS + 50
    assert json.loads(brief_text({"init_images": ["A"], "mask": long["mask"]})) == {"init_images": ["A"]}


# --- looking and ending -----------------------------------------------------------------------------------


def test_the_lists_have_the_recorded_fields_filters_and_order(hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE, INK)
    ids = [client.submit(version) for version in (1, 2, 2)]
    cancelled = client.ask("POST", f"/api/v2/jobs/{ids[0]}/cancel")
    assert cancelled.status_code == 200
    first = client.read("/api/v1/queue/jobs", {"total": int, "jobs": [ROW_V1]})
    assert (first["total"], [job["mobilesd_job_id"] for job in first["jobs"]]) == (3, ids[::-1])
    assert first["jobs"][0]["generation_params_json"].startswith("{")
    page = client.read("/api/v1/queue/jobs?limit=2&offset=1&order=asc", {"total": int, "jobs": [ROW_V1]})
    assert (page["total"], page["total_matching"]) == (2, 3)
    assert [job["mobilesd_job_id"] for job in page["jobs"]] == ids[1:]
    form = {"success": bool, "total": int, "filters": {"order": str}, "jobs": [ROW_V2]}
    second = client.read("/api/v2/jobs?status=pending&app_type=forge&limit=1", form)
    assert second["filters"] == {"status": "pending", "app_type": "forge", "limit": 1, "order": "DESC"}
    assert [job["mobilesd_job_id"] for job in second["jobs"]] == [ids[2]]
    assert client.read("/api/v2/jobs?app_type=comfy", form)["total"] == 0
    assert client.read("/api/v2/jobs?status=unheard", form)["jobs"] == []


def test_a_list_leaves_out_long_values_without_reading_them(hub: Any, hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE, INK)
    params = {**PARAMS, "init_images": ["A" * BRIEF_CHARACTERS], "denoising_strength": 0.5}
    job_id = client.submit(generation_params=params)
    text = RAW.format(hash="0123456789").replace("blurry", "x" * BRIEF_CHARACTERS)
    client.submit(generation_params=None, generation_info_raw=text)
    with hub.hub.store.write() as connection:
        # What is stored in full is broken now: whoever reads it fails.
        connection.execute(job_payloads.update().values(payload_json="{"))
    raw, picture = client.read("/api/v2/jobs", {"jobs": [ROW_V2]})["jobs"]
    shown = picture["generation_params"]
    assert (shown["positive_prompt"], shown["denoising_strength"], shown["seed"]) == (
        PARAMS["positive_prompt"],
        0.5,
        PARAMS["seed"],
    )
    assert picture["model_availability"]["available"] is True
    assert "init_images" not in shown
    assert not {"negative_prompt", "raw_generation_info"} & set(raw["generation_params"])
    with hub.hub.store.write() as connection:
        connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(state="completed"))
    assert client.read("/api/v2/jobs", {"jobs": [ROW_V2]})["jobs"][1]["result_details"][
        "submission_type"
    ] == ("sdapi_img2img")


def test_a_job_waits_is_cancelled_once_and_deleted(hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE, INK)
    ahead, job_id = client.submit(), client.submit(1)
    waiting = client.read(f"/api/v2/jobs/{job_id}/status", {"success": bool, "job": STATUS_V2})["job"]
    assert (waiting["status"], waiting["queue_position"], waiting["result_details"]) == ("pending", 2, None)
    assert waiting["target_server_alias"] == "forge"
    assert waiting["api_key_id"] == client.pair.key_id

    done = client.ask("POST", f"/api/v1/queue/jobs/{job_id}/cancel").json()
    assert_form(done, {"message": str, "job": STATUS_V1})
    assert done["message"] == "Job cancelled successfully."
    assert_form(done["job"]["result_details"], DETAILS["cancelled"])
    again = client.ask("POST", f"/api/v1/queue/jobs/{job_id}/cancel")
    assert again.status_code == 400
    assert_form(again.json(), {"error": str, "job": STATUS_V1})
    assert "status 'cancelled'" in again.json()["error"]
    refused = client.ask("POST", f"/api/v2/jobs/{job_id}/cancel").json()
    assert (refused["error"], refused["details"]["current_status"]) == ("job_operation_invalid", "cancelled")
    assert refused["details"]["job_id"] == job_id

    deleted = client.ask("DELETE", f"/api/v1/queue/jobs/{job_id}")
    assert deleted.json() == {"message": f"Job {job_id} deleted successfully."}
    for method, path in (
        ("GET", f"/api/v1/queue/jobs/{job_id}/status"),
        ("POST", f"/api/v1/queue/jobs/{job_id}/cancel"),
        ("DELETE", f"/api/v1/queue/jobs/{job_id}"),
    ):
        gone = client.ask(method, path)
        assert gone.status_code == 404
        assert gone.json()["error"] == f"Job with ID '{job_id}' not found."
    for method, path in (
        ("GET", f"/api/v2/jobs/{job_id}/status"),
        ("POST", f"/api/v2/jobs/{job_id}/cancel"),
    ):
        gone = client.ask(method, path)
        assert gone.status_code == 404
        assert (gone.json()["error"], gone.json()["details"]["job_id"]) == ("job_not_found", job_id)
    assert client.ask("GET", f"/api/v2/jobs/{ahead}/status").json()["job"]["queue_position"] == 1


def test_a_finished_job_names_its_pictures_and_they_are_served(
    hub: Any, hosts: Any, client: OldClient
) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = client.submit()
    taken = runner.next()
    assert client.ask("GET", f"/api/v2/jobs/{job_id}/status").json()["job"]["status"] == "processing"
    assert runner.work(taken).status_code == 200
    job = client.read(f"/api/v1/queue/jobs/{job_id}/status", STATUS_V1)
    assert job["status"] == "completed"
    assert_form(job["result_details"], DETAILS["completed"])
    info = job["result_details"]["generation_info"]
    assert (info["steps"], info["sd_model_name"]) == (12, "base")
    assert (info["sd_model_hash"], info["sd_vae_name"]) == (sha256_of("base checkpoint")[:10], None)
    (name,) = job["result_details"]["saved_filenames"]
    listed = client.read("/api/v1/gallery/images", {"total": int, "images": [PICTURE]})
    assert [(one["filename"], one["job_id_prefix"]) for one in listed["images"]] == [(name, job_id[:8])]
    info = client.read(f"/api/v1/gallery/images/{name}/info", {**PICTURE, "url": str})
    assert info["url"] == f"/outputs/{name}"
    picture = client.ask("GET", info["url"])
    own = hub.request("GET", f"/api/v1/jobs/{job_id}/pictures/0", key=hub.admin)
    assert (picture.content, picture.headers["content-type"]) == (own.content, "image/png")
    assert len(picture.content) == info["size"]
    assert hub.request("GET", info["url"]).status_code == 401
    assert client.ask("GET", "/outputs/00000000_2026-01-01T00-00-00-000Z_0.png").status_code == 404
    assert client.ask("GET", "/outputs/2026-13-01").status_code == 404
    for wrong in ("..%5C..%5Chub.sqlite", "..admin.key"):
        assert client.ask("GET", f"/outputs/{wrong}").status_code == 400


def test_a_failed_job_says_why(hosts: Any, client: OldClient) -> None:
    runner = hosts.add("forge", BASE, INK)
    job_id = client.submit()
    for _ in range(3):
        taken = runner.next()
        if taken is None:
            break
        assert runner.finish(taken, [], outcome="failed", text="CUDA out of memory").status_code == 200
    job = client.read(f"/api/v2/jobs/{job_id}/status", {"success": bool, "job": STATUS_V2})["job"]
    if job["status"] == "failed":
        assert_form(job["result_details"], DETAILS["failed"])
        assert "CUDA out of memory" in job["result_details"]["error"]
    assert job["retry_count"] >= 1


def test_somebody_elses_job_is_neither_cancelled_nor_deleted(hub: Any, hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE, INK)
    job_id, other = client.submit(), OldClient(hub)
    for method, path in (
        ("POST", f"/api/v1/queue/jobs/{job_id}/cancel"),
        ("POST", f"/api/v2/jobs/{job_id}/cancel"),
        ("DELETE", f"/api/v1/queue/jobs/{job_id}"),
    ):
        assert other.ask(method, path).status_code == 403
        assert "somebody else" in other.ask(method, path).text


# --- servers and models -----------------------------------------------------------------------------------


def test_a_server_by_its_address_takes_jobs_that_say_what_to_install(hub: Any, client: OldClient) -> None:
    body = {"alias": "Attic", "apiUrl": "http://me:secret@192.168.1.9:7860/", "auth": {"username": "me"}}
    added = client.ask("POST", "/api/v1/servers", body)
    assert added.status_code == 201
    assert_form(added.json(), {"message": str, "server": SERVER})
    assert "secret" not in added.text
    listed = client.read("/api/v1/servers", [SERVER])
    assert added.json()["server"] == {
        "alias": "Attic",
        "apiUrl": "http://192.168.1.9:7860",
        "auth": None,
        "server_id": listed[0]["server_id"],
    }
    assert [(one["alias"], one["apiUrl"], one["no_agent"]) for one in listed] == [
        ("Attic", "http://192.168.1.9:7860", True)
    ]
    made = client.ask(
        "POST", "/api/v2/generate", {"target_server_alias": "attic", "generation_params": {"prompt": "x"}}
    ).json()
    assert "install the extension" in made["waiting_for"]
    why = hub.request("GET", f"/api/v1/jobs/{made['mobilesd_job_id']}/why", key=hub.admin).json()
    assert (why["waiting_code"], "install the extension" in why["waiting_for"]) == ("no_agent", True)
    page = hub.request("GET", "/views/servers", key=hub.admin)
    assert ("not installed there" in page.text, "install the extension" in page.text) == (True, True)
    checked = hub.request(
        "POST", "/api/v1/jobs/check", key=hub.admin, json={"payload": {}, "targets": ["attic"]}
    ).json()
    assert [reason["code"] for reason in checked["servers"][0]["reasons"]] == ["no_agent"]


def test_who_joins_under_the_name_of_such_a_server_takes_its_jobs_over(
    hub: Any, hosts: Any, client: OldClient
) -> None:
    assert (
        client.ask("POST", "/api/v1/servers", {"alias": "forge", "apiUrl": "http://f:1"}).status_code == 201
    )
    job_id = client.submit()
    runner = hosts.add("forge", BASE, INK)
    listed = client.read("/api/v1/servers", [SERVER])
    assert [(one["alias"], one["apiUrl"], one["no_agent"]) for one in listed] == [("forge", None, False)]
    assert runner.next()["job_id"] == job_id


def test_names_of_a_server_known_by_address_mean_nothing_until_it_told_what_it_has(
    hub: Any, hosts: Any, client: OldClient
) -> None:
    hosts.add("other", ("checkpoint", "base.safetensors", "another content"))
    assert client.ask("POST", "/api/v1/servers", {"alias": "old", "apiUrl": "http://f:1"}).status_code == 201
    params = {"prompt": "a cat", "checkpoint_name": "sub\\base.safetensors"}
    job_id = client.submit(alias="old", generation_params=params)
    hashed = client.submit(
        alias="old", generation_params={**params, "model_hash": sha256_of("another content")[:10]}
    )

    def required(wanted: str) -> tuple[str, str | None]:
        (one,) = hub.request("GET", f"/api/v1/jobs/{wanted}", key=hub.admin).json()["requirements"]
        return one["status"], one["sha256"]

    assert required(job_id) == ("missing", None)
    assert required(hashed) == ("found", sha256_of("another content"))
    payload = {"override_settings": {"sd_model_checkpoint": "base.safetensors"}}
    body = {"payload": payload, "server": "old"}
    checked = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json=body).json()
    assert (checked["possible"], checked["requirements"][0]["status"]) == (False, "missing")
    assert "has reported its models" in checked["helps"][0]["text"]

    hub.join("Old")
    why = hub.request("GET", f"/api/v1/jobs/{job_id}/why", key=hub.admin).json()
    assert "its names cannot be resolved yet" in why["waiting_for"]


def test_who_joins_in_its_place_gives_such_names_their_meaning(
    hub: Any, hosts: Any, client: OldClient
) -> None:
    hosts.add("other", ("checkpoint", "base.safetensors", "another content"))
    client.ask("POST", "/api/v1/servers", {"alias": "old", "apiUrl": "http://f:1"})
    params = {"prompt": "a cat", "checkpoint_name": "sub\\base.safetensors"}
    job_id = client.submit(alias="old", generation_params=params)
    runner = hosts.add("Old", ("checkpoint", "sub/base.safetensors", "its own content"))
    taken = runner.next()
    assert taken["job_id"] == job_id
    assert runner.work(taken).status_code == 200
    job = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()
    assert (job["state"], job["outcome"]) == ("completed", "confirmed")
    assert job["requirements"][0]["sha256"] == sha256_of("its own content")


SERVER_REFUSED = [
    ({}, "Missing required fields: alias and apiUrl."),
    ({"alias": "x"}, "Missing required fields: alias and apiUrl."),
    ({"alias": ["x"], "apiUrl": 5}, "Missing required fields: alias and apiUrl."),
    ({"alias": "x", "apiUrl": "file:///etc/passwd"}, "`apiUrl` must be an http(s) address."),
    ({"alias": "box", "apiUrl": "http://x"}, "Server with alias 'box' already exists."),
]


def test_a_server_that_cannot_be_kept_is_refused(hub: Any, client: OldClient) -> None:
    hub.join("box")
    for body, message in SERVER_REFUSED:
        refused = client.ask("POST", "/api/v1/servers", body)
        assert refused.status_code in (400, 409)
        assert_form(refused.json(), FAILURE_SERVERS)
        assert refused.json()["message"].startswith(message)


def test_servers_and_models_are_found_by_the_old_names_and_forms(hosts: Any, client: OldClient) -> None:
    hosts.add("forge", BASE)
    assert client.read("/api/v1/servers/forge", SERVER)["alias"] == "forge"
    missing = client.read("/api/v1/servers/none", FAILURE_SERVERS, 404)
    assert "none" in missing["message"]
    models = client.read("/api/v1/models", {"success": bool, "count": int, "models": [{"id": int}]})
    model_id = models["models"][0]["id"]
    shown = client.read(f"/api/v1/models/{model_id}", {"success": bool, "model": {"id": int}})
    assert shown["success"] is True
    assert client.read("/api/v1/models/9999999", {"success": bool, "message": str}, 404)["success"] is False
    form = {"success": bool, "servers": [{"server_id": str, "last_seen": UTC}]}
    found = client.read(f"/api/v1/models/{model_id}/availability", form)
    assert [one["alias"] for one in found["servers"]] == ["forge"]
    assert client.read(f"/api/v1/models/{'0' * 10}/availability", form)["servers"] == []


# --- who may ----------------------------------------------------------------------------------------------

OLD_PATHS = [
    ("POST", "/api/v1/generate"),
    ("GET", "/api/v1/queue/jobs"),
    ("GET", "/api/v1/queue/jobs/x/status"),
    ("POST", "/api/v1/queue/jobs/x/cancel"),
    ("DELETE", "/api/v1/queue/jobs/x"),
    ("GET", "/api/v1/servers"),
    ("GET", "/api/v1/servers/x"),
    ("POST", "/api/v1/servers"),
    ("GET", "/api/v1/models"),
    ("GET", "/api/v1/models/1"),
    ("GET", "/api/v1/models/1/availability"),
    ("GET", "/api/v1/gallery/images"),
    ("GET", "/api/v1/gallery/images/x/info"),
    ("GET", "/outputs/x"),
]
V2_PATHS = [("POST", "/api/v2/generate"), ("GET", "/api/v2/jobs"), ("GET", "/api/v2/jobs/x/status")]


def test_both_forms_of_a_pair_are_taken_and_a_wrong_one_is_not(client: OldClient) -> None:
    pair = client.pair
    assert re.fullmatch(r"mk_[0-9a-f]{24}", pair.key)
    assert re.fullmatch(r"[0-9a-f]{32}", pair.secret)
    bearer = base64.b64encode(f"{pair.key}:{pair.secret}".encode()).decode()
    wrong = {"X-API-Key": pair.key, "X-API-Secret": "0" * 32}
    for headers in (client.headers, {"Authorization": f"Bearer {bearer}"}):
        assert client.ask("GET", "/api/v2/jobs", headers=headers).status_code == 200
    # The pair of headers wins where both are sent.
    both = {**wrong, "Authorization": f"Bearer {bearer}"}
    refused = [
        (wrong, "Invalid API credentials"),
        (both, "Invalid API credentials"),
        ({"Authorization": f"Bearer {pair.key}"}, "Invalid API credentials"),
        ({}, "API key and secret are required"),
    ]
    for headers, message in refused:
        answer = client.ask("GET", "/api/v2/jobs", headers=headers)
        assert answer.status_code == 401
        assert_form(answer.json(), UNAUTHORISED)
        assert (answer.json()["error"], "success" in answer.json()) == (message, False)


def test_a_pair_submits_jobs_and_does_nothing_more(client: OldClient) -> None:
    assert client.ask("GET", "/api/v1/keys").status_code == 403
    assert client.ask("POST", "/api/v1/keys", {"scope": "admin"}).status_code == 403
    client.hub.request("DELETE", f"/api/v1/keys/{client.pair.key_id}", key=client.hub.admin)
    assert client.ask("GET", "/api/v2/jobs").status_code == 401


def test_a_pairs_secret_is_stored_as_a_hash_only(client: OldClient) -> None:
    with client.hub.hub.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM keys").all()
    assert client.pair.key_id in str(rows)
    assert client.pair.secret not in str(rows)


def test_an_old_client_finds_out_that_somebody_is_there(hub: Any) -> None:
    answer = hub.request("GET", "/status")
    assert (answer.status_code, answer.text) == (200, "MobileSD Server is running")
    assert answer.headers["content-type"].startswith("text/plain")


def test_paths_of_the_old_contract_that_nobody_serves_say_so_in_both_forms(hub: Any) -> None:
    for method, path, status in (
        ("GET", "/api/v1/settings", 404),
        ("POST", "/api/v1/models/scan", 405),
        ("GET", "/api/v2/nothing", 404),
        ("PUT", "/api/v1/generate", 405),
    ):
        answer = hub.request(method, path, key=hub.admin)
        assert answer.status_code == status, path
        assert answer.json()["message"].startswith(answer.json()["error"]["message"])
        assert answer.json()["success"] is False


def test_every_call_needs_a_key_until_the_owner_opens_the_first_version(hub: Any) -> None:
    for method, path in OLD_PATHS + V2_PATHS:
        assert hub.request(method, path, content=b"{}").status_code == 401, path
    hub.hub.settings = replace(hub.hub.settings, legacy_open=True)
    for method, path in OLD_PATHS + V2_PATHS:
        status = hub.request(method, path, content=b"{}").status_code
        assert (status == 401) == path.startswith("/api/v2"), (path, status)
        assert status < 500
    for closed in ("/api/v1/keys", "/api/v1/jobs", "/api/v1/events", "/api/v1/servers/x/presence", "/docs"):
        assert hub.request("GET", closed).status_code == 401
    assert hub.request("GET", "/api/v1/queue/jobs", key="sq_x_" + "0" * 64).status_code == 401


def test_where_the_paths_are_open_a_client_without_a_key_queues_and_sees_little(hub: Any, hosts: Any) -> None:
    its_id = hosts.add("forge", BASE, INK).server.server_id
    hub.hub.settings = replace(hub.hub.settings, legacy_open=True)
    body = {"target_server_alias": "forge", "generation_params": PARAMS}
    made = hub.request("POST", "/api/v1/generate", json=body)
    assert made.status_code == 202
    shown = {"alias": "forge", "apiUrl": None, "auth": None, "server_id": its_id}
    assert hub.request("GET", "/api/v1/servers").json() == [shown]
    for name in ("forge", "FORGE", its_id):
        assert hub.request("GET", f"/api/v1/servers/{name}").json() == shown
    missing = hub.request("GET", "/api/v1/servers/none")
    assert (missing.status_code, missing.json()["message"]) == (404, "Server configuration not found.")
    path = f"/api/v1/queue/jobs/{made.json()['mobilesd_job_id']}"
    assert hub.request("GET", f"{path}/status").json()["api_key_id"] is None
    own = hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": {}}).json()["job_id"]
    assert hub.request("POST", f"/api/v1/queue/jobs/{own}/cancel").status_code == 403
    assert hub.request("POST", f"{path}/cancel", headers={"Origin": "http://evil"}).status_code == 403
    assert hub.request("POST", f"{path}/cancel").status_code == 200


MODEL_COLUMNS = {
    *("id", "name", "type", "hash_autov2", "hash_sha256", "hash_blake3", "hash_autov1", "hash_autov3"),
    *("size", "base_model", "civitai_id", "civitai_version_id", "source", "created_at"),
    *("filename", "local_path", "has_preview"),
}


def test_where_the_paths_are_open_models_are_shown_as_the_old_server_did(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, ("checkpoint", "private/copy.safetensors", BASE[2]), INK)
    hub.hub.settings = replace(hub.hub.settings, legacy_open=True)
    listed = hub.request("GET", "/api/v1/models?server=none&search=zzz").json()
    assert (set(listed), listed["count"]) == ({"success", "count", "models"}, 2)
    assert [set(model) for model in listed["models"]] == [MODEL_COLUMNS] * 2
    (model,) = [model for model in listed["models"] if model["hash_sha256"] == sha256_of(BASE[2])]
    shown = hub.request("GET", f"/api/v1/models/{model['id']}").json()
    assert shown == {"success": True, "model": model}
    there = hub.request("GET", f"/api/v1/models/{model['id']}/availability").json()
    assert set(there) == {"success", "servers"}
    assert [set(server) for server in there["servers"]] == [{"server_id", "last_seen", "alias"}]
    (server,) = hub.request("GET", "/api/v1/servers").json()
    assert {name: there["servers"][0][name] for name in ("server_id", "alias")} == {
        name: server[name] for name in ("server_id", "alias")
    }
    assert there["servers"][0]["server_id"] == runner.server.server_id
    assert_form(there["servers"][0]["last_seen"], UTC)
    unknown = hub.request("GET", f"/api/v1/models/{'0' * 10}/availability").json()
    assert unknown == {"success": True, "servers": []}
    with_key = hub.request("GET", f"/api/v1/models/{model['id']}/availability", key=hub.admin).json()
    assert len(with_key["servers"][0]["files"]) == 2
