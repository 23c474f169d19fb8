"""A file whose name another content has too: the check, the reasons and the hand-over say the same."""

from __future__ import annotations

from typing import Any

import pytest

from stablequeue_client.shared.wire.inventory import FileEntry

from ..fake_runner import sha256_of
from .test_job_check import file, tell
from .test_job_waiting import can, why

ON_BOTH_DATABASES = True
SHARED = "model_name_shared"
BASE = ("checkpoint", "base.safetensors", "base")
INK = ("lora", "a/ink.safetensors", "the ink")
OTHER_INK = ("lora", "b/ink.safetensors", "another ink")
ASIDE = ("lora", "c/tusche.safetensors", "the ink")


def submit(hub: Any, **body: Any) -> tuple[str, dict[str, list[str]]]:
    """The id, and what the check says against each server."""
    answer = hub.request("POST", "/api/v1/jobs", key=hub.admin, json=body)
    assert answer.status_code == 202, answer.text
    check = answer.json()["check"]
    codes = {one["alias"]: [reason["code"] for reason in one["reasons"]] for one in check["servers"]}
    assert check["possible"] is any(not reasons for reasons in codes.values())
    return str(answer.json()["job_id"]), codes


def text_of(name: str, content: str) -> str:
    """A generation text that means this content, whatever it is called."""
    stated = f'Lora hashes: "{name}: {sha256_of(content)[:12]}"'
    return f"<lora:{name}:1>\nSteps: 1, Sampler: Euler, Seed: 1, Size: 64x64, {stated}"


def obstacles(hub: Any, job_id: str) -> dict[str, list[str]]:
    """What is said of each server, besides that nothing there asked yet."""
    return {
        alias: [one for one in codes if one != "no_agent"] for alias, codes in why(hub, job_id)[1].items()
    }


@pytest.mark.parametrize("files", [(INK, OTHER_INK), (INK, OTHER_INK, ASIDE), (INK, ASIDE)])
def test_a_shared_name_is_told_before_any_runner_asks_and_another_name_helps(
    hub: Any, hosts: Any, files: tuple[Any, ...]
) -> None:
    runner, sound = hosts.add("attic", BASE, *files), hosts.add("studio", BASE, INK)
    expected = {"attic": [SHARED] if ASIDE not in files else [], "studio": []}
    job_id, checked = submit(hub, infotext=text_of("ink", "the ink"))
    assert (checked, obstacles(hub, job_id)) == (expected, expected)
    taken = runner.next()
    assert (taken is None) is bool(expected["attic"])
    if taken is None:
        assert sound.next()["job_id"] == job_id


def test_checkpoints_in_folders_share_a_name_and_one_at_the_top_does_not(hub: Any, hosts: Any) -> None:
    one, two = ("checkpoint", "x/m.safetensors", "one"), ("checkpoint", "m.safetensors", "two")
    attic = hosts.add("attic", one, two, ("checkpoint", "y/m.safetensors", "three"))
    title = f"m.safetensors [{sha256_of('one')[:10]}]"
    job_id, checked = submit(hub, payload={"override_settings": {"sd_model_checkpoint": title}})
    assert (checked, obstacles(hub, job_id)) == ({"attic": [SHARED]}, {"attic": [SHARED]})
    assert why(hub, job_id)[0].startswith("Waits for m to be renamed on attic")
    assert attic.next() is None
    title = f"m.safetensors [{sha256_of('two')[:10]}]"
    job_id, checked = submit(hub, payload={"override_settings": {"sd_model_checkpoint": title}})
    assert (checked, obstacles(hub, job_id)) == ({"attic": []}, {"attic": []})
    assert attic.next()["job_id"] == job_id


def test_the_check_says_what_would_help(hub: Any, hosts: Any) -> None:
    hosts.add("attic", BASE, INK, OTHER_INK)
    body = {"infotext": text_of("ink", "the ink")}
    helps = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json=body).json()["helps"]
    assert helps == [
        {
            "requirement": 0,
            "text": "Rename one of the files named ink on attic.",
            "servers": ["attic"],
        }
    ]


def test_run_anyway_on_a_server_strikes_the_reason_there(hub: Any, hosts: Any) -> None:
    hosts.add("attic", BASE, INK, OTHER_INK)
    job_id, _ = submit(hub, infotext=text_of("ink", "the ink"))
    decision = {"requirement": 0, "decision": "run_anyway", "server": "attic"}
    path = f"/api/v1/jobs/{job_id}/decisions"
    assert hub.request("POST", path, key=hub.admin, json=decision).status_code == 200
    assert obstacles(hub, job_id) == {"attic": []}
    assert not why(hub, job_id)[0].startswith("Waits for m to be renamed")


@pytest.mark.parametrize(
    ("state", "shared"), [("unhashed", True), ("busy", True), ("corrupt", False), ("partial", False)]
)
def test_a_file_that_nobody_has_read_may_be_another_content_and_a_broken_one_is_none(
    hub: Any, state: str, shared: bool
) -> None:
    attic = hub.join("attic")
    unread = FileEntry("lora", "b/ink.safetensors", "lora", 1000, state)
    in_folder = FileEntry("checkpoi", "y/m.safetensors", "checkpoint", 1000, state)
    tell(
        hub,
        attic,
        file("a/ink.safetensors", "the ink"),
        unread,
        file("x/m.safetensors", "the m", kind="checkpoint"),
        in_folder,
    )
    can(hub, attic)
    title = f"m.safetensors [{sha256_of('the m')[:10]}]"
    payload = {"override_settings": {"sd_model_checkpoint": title}}
    for body in ({"infotext": text_of("ink", "the ink")}, {"payload": payload}):
        job_id, checked = submit(hub, **body)
        expected = {"attic": [SHARED] if shared else []}
        assert (checked, obstacles(hub, job_id)) == (expected, expected)


def test_a_file_only_known_by_its_name_is_judged_where_it_was_written(hub: Any) -> None:
    attic = hub.join("attic")
    tell(hub, attic, file("a/ink.safetensors", None), file("b/ink.ckpt", None), file("c/oil.pt", None))
    can(hub, attic)
    payload = {"prompt": "<lora:oil:1>"}
    job_id, checked = submit(hub, payload=payload, server="attic")
    assert (checked, obstacles(hub, job_id)) == ({"attic": []}, {"attic": []})


def test_a_file_that_only_probably_holds_a_model_may_share_its_name_too(hub: Any) -> None:
    """Where the job was written it would do, but another content lies there under the same name."""
    source, other = hub.join("source"), hub.join("other")
    tell(hub, other, file("x.safetensors", "X", kind="checkpoint"))
    tell(
        hub,
        source,
        file("a/base.safetensors", None, kind="checkpoint", claim="X"),
        file("b/base.safetensors", "Y", kind="checkpoint"),
    )
    can(hub, source)
    title = f"base.safetensors [{sha256_of('X')[:10]}]"
    body = {"override_settings": {"sd_model_checkpoint": title}}
    job_id, checked = submit(hub, payload=body, server="source", targets=["source"])
    assert (checked, obstacles(hub, job_id)["source"]) == ({"source": [SHARED]}, [SHARED])
    path = f"/api/v1/servers/{source.server_id}/runner/next"
    question = {"runner_id": "r", "others": True, "wait_s": 0}
    assert hub.request("POST", path, key=source.key, json=question).json() is None
