"""Gate 1: where a job can run, and why not elsewhere."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from stablequeue_client.shared.generation.png_text import TEXT_MAX_BYTES
from stablequeue_client.shared.wire.inventory import (
    FileEntry,
    RootEntry,
    WireClaim,
    WireDigests,
    digest_hex,
    digest_sum,
    entry_dict,
    row_digest,
)
from stablequeue_hub.matching.resolve import DEPTH_MAX
from stablequeue_hub.servers.presence import RunnerPresence
from stablequeue_hub.store.tables import models

ON_BOTH_DATABASES = True
WORKS = {"webui": "forge", "works_for_others": "always"}
"""What a WebUI says that makes pictures for everybody."""


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def file(path: str, content: str | None, *, kind: str = "lora", claim: str = "") -> FileEntry:
    """A model file: hashed when ``content`` is given, else not read yet."""
    digests = WireDigests(sha256=sha(content)) if content is not None else None
    claims = (WireClaim("sidecar", "sha256", sha(claim)),) if claim else None
    state = "ready" if content is not None else "unhashed"
    return FileEntry(kind[:8], path, kind, 1000, state, digests, claims)


def tell(
    hub: Any,
    server: Any,
    *files: FileEntry,
    away: tuple[str, ...] = (),
    sequence: int = 1,
    webui: bool = True,
) -> None:
    """``server`` tells the hub that it has ``files``, and that it lives. ``away``: kinds not connected.

    ``webui``: a WebUI there makes pictures for everybody, and has asked for a job; else an agent is alone.
    """
    kinds = sorted({entry.kind for entry in files})
    roots = [
        entry_dict(RootEntry(kind[:8], kind, "unreachable" if kind in away else "healthy")) for kind in kinds
    ]
    entries = [entry_dict(entry) for entry in files]
    digest = digest_hex(digest_sum(row_digest(entry) for entry in [*roots, *entries]))
    body = {
        "protocol": 1,
        "index_id": "index",
        "mode": "full",
        "base_sequence": 0,
        "sequence": sequence,
        "digest": digest,
        "roots": roots,
        "upserts": entries,
        "removals": [],
    }
    assert hub.sync(server, body).status_code == 200
    assert hub.beat(server, "boot", sequence).status_code == 200
    if webui and hub.hub.presence.runner(server.server_id) == RunnerPresence():
        base = f"/api/v1/servers/{server.server_id}"
        assert hub.request("PUT", f"{base}/capabilities", key=server.key, json=WORKS).status_code == 204
        asks = {"runner_id": "r", "others": True, "wait_s": 0}
        assert hub.request("POST", f"{base}/runner/next", key=server.key, json=asks).status_code == 200


def check(hub: Any, payload: dict[str, Any], *, key: str | None = None, **options: Any) -> dict[str, Any]:
    answer = hub.request(
        "POST", "/api/v1/jobs/check", key=key or hub.admin, json={"payload": payload, **options}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(answer: dict[str, Any]) -> dict[str, list[str]]:
    return {server["alias"]: [reason["code"] for reason in server["reasons"]] for server in answer["servers"]}


PAYLOAD = {
    "prompt": "a cat <lora:ink:0.8> <lora:film:1>",
    "override_settings": {"sd_model_checkpoint": "base.safetensors"},
}


def test_each_server_is_judged_and_each_reason_names_its_requirement(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    base = file("base.safetensors", "base", kind="checkpoint")
    tell(hub, a, base, file("ink.safetensors", "ink"), file("film.safetensors", "film"))
    tell(hub, b, base, file("ink.safetensors", "ink"))
    answer = check(hub, PAYLOAD)
    assert answer["possible"] is True
    assert [(r["role"], r["name"], r["status"]) for r in answer["requirements"]] == [
        ("checkpoint", "base.safetensors", "found"),
        ("lora", "ink", "found"),
        ("lora", "film", "found"),
    ]
    assert answer["requirements"][2]["sha256"] == sha("film")
    assert codes(answer) == {"forge-a": [], "forge-b": ["model_missing"]}
    assert answer["servers"][1]["reasons"][0]["requirement"] == 2
    assert [(h["requirement"], h["servers"]) for h in answer["helps"]] == [(2, ["forge-a"])]


def test_what_was_replaced_under_its_name_makes_the_name_not_ambiguous(hub: Any) -> None:
    """Nor does what only a server had that is gone."""
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, b, file("ink.safetensors", "of a server that goes"))
    assert hub.request("DELETE", f"/api/v1/servers/{b.server_id}", key=hub.admin).status_code == 204
    tell(hub, a, file("ink.safetensors", "first version"))
    tell(hub, a, file("ink.safetensors", "second version"), sequence=2)
    wanted = {"prompt": "<lora:ink:1>"}
    answer = check(hub, wanted)
    assert (answer["possible"], answer["requirements"][0]["sha256"]) == (True, sha("second version"))
    tell(hub, a, file("oil.safetensors", "second version"), sequence=3)
    answer = check(hub, wanted)
    assert (answer["possible"], answer["requirements"][0]["status"]) == (False, "ambiguous")


def test_a_hash_decides_also_where_the_file_has_another_name(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, file("sub/one.safetensors", "one", kind="checkpoint"))
    tell(hub, b, file("one.safetensors", "another", kind="checkpoint"))
    title = f"one.safetensors [{sha('one')[:10]}]"
    answer = check(hub, {"override_settings": {"sd_model_checkpoint": title}})
    assert codes(answer) == {"forge-a": [], "forge-b": ["model_missing"]}


@pytest.mark.parametrize("digits", [10, 64])
def test_a_checkpoint_may_be_called_by_its_hash_alone_unless_a_file_is_called_so(
    hub: Any, hosts: Any, digits: int
) -> None:
    """As in the WebUIs, in capitals too, as Civitai shows it."""
    short = sha("one")[:digits]
    runner = hosts.add("forge-a", ("checkpoint", "sub/one.safetensors", "one"))
    runner.webui.loaded = runner.webui.files[0]
    answer = check(hub, {"override_settings": {"sd_model_checkpoint": short.upper()}})
    assert [(r["status"], r["sha256"]) for r in answer["requirements"]] == [("found", sha("one"))]
    body = {"payload": {"prompt": "x", "override_settings": {"sd_model_checkpoint": short}}}
    assert hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body).status_code == 202
    taken = runner.next()
    assert taken["payload"]["override_settings"]["sd_model_checkpoint"] == "one"
    assert runner.work(taken).json()["outcome"] == "confirmed"
    b = hub.join("forge-b")
    tell(hub, b, file(f"{short}.safetensors", "another", kind="checkpoint"))
    assert check(hub, body["payload"])["requirements"][0]["sha256"] == sha("another")


@pytest.mark.parametrize(("said", "counts"), [(True, 1), (1, 1), ("yes", 1), (0, 0), ("False", 0), (None, 0)])
def test_hires_fix_is_on_as_the_webui_s_api_reads_it(hub: Any, said: Any, counts: int) -> None:
    answer = check(hub, {"prompt": "x", "enable_hr": said, "hr_prompt": "<lora:ink:1>"})
    assert len(answer["requirements"]) == counts


def test_a_hash_in_capitals_is_one(hub: Any) -> None:
    a = hub.join("forge-a")
    tell(hub, a, file("one.safetensors", "one", kind="checkpoint"))
    title = f"what it is called elsewhere [{sha('one')[:10].upper()}]"
    assert check(hub, {"override_settings": {"sd_model_checkpoint": title}})["possible"] is True


def test_the_hash_of_a_name_is_not_taken_for_a_content_s(hub: Any) -> None:
    a = hub.join("forge-a")
    tell(hub, a, file("one.safetensors", "one", kind="checkpoint"))
    title = f"one.safetensors [{sha('one.safetensors')[:10]}]"
    assert check(hub, {"override_settings": {"sd_model_checkpoint": title}})["possible"] is True


def test_a_hash_that_nobody_has_is_missing_even_where_the_name_is_there(hub: Any) -> None:
    a = hub.join("forge-a")
    tell(hub, a, file("one.safetensors", "one", kind="checkpoint"))
    answer = check(hub, {"override_settings": {"sd_model_checkpoint": "one.safetensors [0123456789]"}})
    assert answer["requirements"][0]["status"] == "missing"
    assert codes(answer) == {"forge-a": ["model_missing"]}
    assert answer["helps"][0]["servers"] == []


def test_a_name_that_means_two_contents_is_ambiguous_unless_its_own_server_says_which(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, file("ink.safetensors", "ink of a"))
    tell(hub, b, file("ink.safetensors", "ink of b"))
    payload = {"prompt": "<lora:ink:1>"}
    anywhere = check(hub, payload)
    assert anywhere["requirements"][0]["status"] == "ambiguous"
    assert set(anywhere["requirements"][0]["candidates"]) == {sha("ink of a"), sha("ink of b")}
    assert codes(anywhere) == {"forge-a": ["model_ambiguous"], "forge-b": ["model_ambiguous"]}
    for answer in (check(hub, payload, server="FORGE-B"), check(hub, payload, key=b.key)):
        assert answer["requirements"][0]["sha256"] == sha("ink of b")
        assert codes(answer) == {"forge-a": ["model_missing"], "forge-b": []}


def test_of_files_that_differ_in_case_the_one_called_exactly_so_is_meant(hub: Any, hosts: Any) -> None:
    base = ("checkpoint", "x/base.safetensors", "base")
    twins = [("lora", "Ink.safetensors", "one"), ("lora", "ink.safetensors", "two")]
    titles = [("checkpoint", "x/Base.safetensors", "Base")]
    runner = hosts.add("linux", base, *titles, *twins)
    for name, title, contents in (
        ("ink", "x/base.safetensors", ["base", "two"]),
        ("Ink", "x/Base.safetensors", ["Base", "one"]),
        ("Ink", "base", ["base", "one"]),
    ):
        payload = {"prompt": f"<lora:{name}:1>", "override_settings": {"sd_model_checkpoint": title}}
        answer = check(hub, payload, server="linux")
        assert [one["sha256"] for one in answer["requirements"]] == [sha(content) for content in contents]
        hub.request("POST", "/api/v1/jobs", key=hub.admin, json={"payload": payload, "server": "linux"})
        job = runner.next()
        assert [one["sha256"] for one in job["files"]] == [sha(content) for content in contents]
        assert runner.work(job).json()["outcome"] == "confirmed"
    # Called like neither, or not said where: nobody knows which of the two.
    for name, source in (("INK", {"server": "linux"}), ("ink", {})):
        answer = check(hub, {"prompt": f"<lora:{name}:1>"}, **source)
        assert [one["status"] for one in answer["requirements"]] == ["ambiguous"]


def test_of_twins_that_are_not_read_the_exact_one_is_meant(hub: Any) -> None:
    a = hub.join("linux")
    tell(hub, a, file("Ink.safetensors", "one"), file("ink.safetensors", None))
    answer = check(hub, {"prompt": "<lora:ink:1>"}, server="linux")
    assert [one["status"] for one in answer["requirements"]] == ["unhashed"]
    answer = check(hub, {"prompt": "<lora:Ink:1>"}, server="linux")
    assert [one["sha256"] for one in answer["requirements"]] == [sha("one")]


def test_another_name_of_a_file_on_the_source_makes_its_own_name_no_doubt(hub: Any) -> None:
    """forge-a calls one content `ink` and keeps another, that forge-b calls `ink`, as `pen`."""
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, file("ink.safetensors", "mine"), file("pen.safetensors", "theirs"))
    tell(hub, b, file("ink.safetensors", "theirs"))
    answer = check(hub, {"prompt": "<lora:ink:1>"}, server="forge-a")
    assert answer["requirements"][0]["sha256"] == sha("mine")


def test_a_file_not_read_yet_runs_where_it_was_named_and_nowhere_else(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, file("ink.safetensors", None))
    tell(hub, b, file("ink.safetensors", "another"))
    answer = check(hub, {"prompt": "<lora:ink:1>"}, server="forge-a")
    assert answer["requirements"][0]["status"] == "unhashed"
    assert codes(answer) == {"forge-a": [], "forge-b": ["model_missing"]}


def test_a_claim_never_makes_a_server_able_to_run(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, file("ink.safetensors", "ink"))
    tell(hub, b, file("other.safetensors", None, claim="ink"))
    answer = check(hub, {"prompt": "<lora:ink:1>"}, server="forge-a")
    assert codes(answer) == {"forge-a": [], "forge-b": ["model_unhashed"]}


def test_servers_that_are_off_or_whose_folder_is_away_say_so(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    hub.join("forge-c")
    tell(hub, a, file("ink.safetensors", "ink"))
    hub.clock.advance(60)
    tell(hub, b, file("ink.safetensors", "ink"), away=("lora",))
    answer = check(hub, {"prompt": "<lora:ink:1>"})
    assert answer["possible"] is False
    assert codes(answer) == {
        "forge-a": ["server_unreachable"],
        "forge-b": ["model_unreachable"],
        "forge-c": ["server_unknown"],
    }


def test_what_an_extension_fills_in_holds_up_nothing(hub: Any) -> None:
    a = hub.join("forge-a")
    tell(hub, a, file("ink.safetensors", "ink"))
    answer = check(hub, {"prompt": "<lora:{ink|film}:1>"})
    assert answer["requirements"][0]["status"] == "not_checked"
    assert answer["possible"] is True


def test_targets_leave_the_others_out_and_an_unknown_one_is_named_an_error(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    for server in (a, b):
        tell(hub, server, file("ink.safetensors", "ink"))
    answer = check(hub, {"prompt": "<lora:ink:1>"}, targets=["forge-b"])
    assert codes(answer) == {"forge-b": []}
    for body in ({"payload": {}, "targets": ["nobody"]}, {"payload": {}, "server": "nobody"}):
        refused = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert "nobody" not in refused.text


def test_more_names_than_a_generation_can_use_are_refused(hub: Any) -> None:
    prompt = "".join(f"<lora:l{number}:1>" for number in range(300))
    refused = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json={"payload": {"prompt": prompt}})
    assert refused.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("payload", [{}, {"prompt": 5, "override_settings": "x", "styles": 3}])
def test_a_payload_without_models_runs_on_every_server_that_is_there(
    hub: Any, payload: dict[str, Any]
) -> None:
    tell(hub, hub.join("forge-a"), file("ink.safetensors", "ink"))
    assert codes(check(hub, payload)) == {"forge-a": []}


def test_what_a_webui_lacks_besides_models_is_a_reason_and_what_it_never_told_is_none(hub: Any) -> None:
    a, b, c = hub.join("forge-a"), hub.join("forge-b"), hub.join("forge-c")
    says = {**WORKS, "samplers": ["Euler", "DPM++ 2M"], "schedulers": ["Karras"]}
    scripts = {"scripts": ["Prompt matrix"], "upscalers": ["ESRGAN_4x"], "alwayson_scripts": ["ControlNet"]}
    for server, more in ((a, scripts), (b, {"scripts": ["X/Y/Z plot"], "upscalers": ["Lanczos"]}), (c, None)):
        tell(hub, server, file("ink.safetensors", "ink"))
        if more is not None:
            path = f"/api/v1/servers/{server.server_id}/capabilities"
            assert hub.request("PUT", path, key=server.key, json={**says, **more}).status_code == 204
    payload = {
        "prompt": "<lora:ink:1>",
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "enable_hr": True,
        "hr_upscaler": "ESRGAN_4x",
        "script_name": "Prompt matrix",
        "styles": ["my style"],
    }
    answer = check(hub, payload)
    assert codes(answer) == {"forge-a": [], "forge-b": ["upscaler_missing", "script_missing"], "forge-c": []}
    assert answer["servers"][0]["not_checked"] == ["style my style"]
    assert "sampler DPM++ 2M" in answer["servers"][2]["not_checked"]
    other = check(hub, {**payload, "sampler_name": "Restart", "script_name": None})
    assert codes(other)["forge-a"] == ["sampler_missing"]


INFOTEXT = """a cat <lora:ink:0.8>
Negative prompt: a dog
Steps: 20, Sampler: Euler, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x768, Model hash: {base}, \
Model: base, Lora hashes: "ink: {ink}", Version: f2.0"""


@pytest.mark.parametrize("length", [10, 12])
def test_a_picture_s_text_is_a_job_whose_hashes_find_the_models_under_any_name(hub: Any, length: int) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    tell(hub, a, file("b.safetensors", "the base", kind="checkpoint"), file("tusche.safetensors", "the ink"))
    tell(hub, b, file("base.safetensors", "else", kind="checkpoint"), file("ink.safetensors", "else"))
    text = INFOTEXT.format(base=sha("the base")[:10], ink=sha("the ink")[:length])
    answer = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json={"infotext": text}).json()
    assert codes(answer) == {"forge-a": [], "forge-b": ["model_missing", "model_missing"]}
    assert (answer["payload"]["seed"], answer["payload"]["height"]) == (5, 768)
    assert {found["sha256"] for found in answer["requirements"]} == {sha("the base"), sha("the ink")}


@pytest.mark.parametrize("body", [{}, {"payload": {}, "infotext": "a cat"}])
def test_a_job_is_given_by_a_payload_or_a_text_and_not_by_both_or_none(
    hub: Any, body: dict[str, Any]
) -> None:
    refused = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")


def test_a_checkpoint_that_its_webui_cannot_load_is_a_reason_and_an_unknown_one_is_none(hub: Any) -> None:
    a, b = hub.join("forge-a"), hub.join("forge-b")
    for server, loadable in ((a, ["flux", "sdxl"]), (b, ["sd1", "sdxl"])):
        tell(
            hub,
            server,
            file("f.safetensors", "f", kind="checkpoint"),
            file("g.safetensors", "g", kind="checkpoint"),
        )
        says = {**WORKS, "architectures": loadable}
        path = f"/api/v1/servers/{server.server_id}/capabilities"
        assert hub.request("PUT", path, key=server.key, json=says).status_code == 204
    with hub.hub.store.write() as connection:
        flux = models.update().where(models.c.hash_sha256 == sha("f")).values(base_model="Flux.1 D")
        connection.execute(flux)
    answer = check(hub, {"override_settings": {"sd_model_checkpoint": "f"}})
    assert codes(answer) == {"forge-a": [], "forge-b": ["architecture_unsupported"]}
    assert answer["servers"][1]["reasons"][0]["requirement"] == 0
    unknown = check(hub, {"override_settings": {"sd_model_checkpoint": "g"}})
    assert codes(unknown) == {"forge-a": [], "forge-b": []}
    assert unknown["servers"][0]["not_checked"] == ["architecture of g"]


def test_a_payload_nested_deeper_than_any_webui_s_is_refused_wherever_it_is_given(hub: Any) -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: Any = "x"
        for number in range(depth - 1):
            value = [value] if number % 2 else {"x": value}
        return {"x": value}

    def ask(method: str, path: str, body: dict[str, Any]) -> Any:
        return hub.request(method, path, key=hub.admin, json=body)

    hub.join("forge")
    made = ask("POST", "/api/v1/jobs", {"payload": nested(DEPTH_MAX)})
    assert made.status_code == 202, made.text
    for deep in (nested(DEPTH_MAX + 1), nested(500)):
        old = {"target_server_alias": "forge", "generation_params": deep}
        for method, path, body in (
            ("POST", "/api/v1/jobs", {"payload": deep}),
            ("POST", "/api/v1/jobs/check", {"payload": deep}),
            ("PATCH", f"/api/v1/jobs/{made.json()['job_id']}", {"payload": deep}),
            ("POST", "/api/v1/generate", old),
            ("POST", "/api/v2/generate", old),
        ):
            refused = ask(method, path, body)
            assert (refused.status_code, f"more than {DEPTH_MAX} levels deep" in refused.text) == (
                400,
                True,
            ), path
    assert hub.request("GET", "/api/v1/queue/jobs", key=hub.admin).json()["total"] == 1


def test_a_text_longer_than_any_picture_s_is_refused_wherever_it_is_given(hub: Any) -> None:
    hub.join("forge")
    text = "a cat\n" + "Steps: 20, " * (TEXT_MAX_BYTES // 10)
    old = {"target_server_alias": "forge", "generation_info_raw": text}
    for path, body in (
        ("/api/v1/jobs/check", {"infotext": text}),
        ("/api/v1/jobs", {"infotext": text}),
        ("/api/v2/generate", old),
    ):
        refused = hub.request("POST", path, key=hub.admin, json=body)
        assert (refused.status_code, "longer than 1 MiB" in refused.text) == (413, True), path
    # What an old client sends beside its parameters is not needed.
    old = {"target_server_alias": "forge", "generation_params": {"prompt": "x", "raw_generation_info": text}}
    assert hub.request("POST", "/api/v2/generate", key=hub.admin, json=old).status_code == 202
