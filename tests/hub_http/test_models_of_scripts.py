"""Models that only the arguments of scripts name: asked for, handed over by their names there, and proved."""

from __future__ import annotations

from typing import Any

import pytest

from ..fake_runner import png, sha256_of
from .test_job_hand_over import ask, submit

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "base.safetensors", "base checkpoint")
OTHER = ("checkpoint", "other.safetensors", "other checkpoint")
OTHER_THERE = ("checkpoint", "sub/called-otherwise.safetensors", "other checkpoint")
INK = ("lora", "ink.safetensors", "ink lora")
INK_THERE = ("lora", "tusche.safetensors", "ink lora")
FLAGS = [True, False, False, False, False, False, False, 0, False]


def plot(*checkpoints: str, prompt: str = "a cat", base: str = "base.safetensors") -> dict[str, Any]:
    return {
        "prompt": prompt,
        "seed": 1,
        "override_settings": {"sd_model_checkpoint": base},
        "script_name": "X/Y/Z plot",
        "script_args": [14, "", list(checkpoints), 0, "", [], 0, "", [], *FLAGS],
        "script_choices": {"X/Y/Z plot": {"0": "Checkpoint name", "3": "Nothing", "6": "Nothing"}},
    }


def adetailer(prompt: str) -> dict[str, Any]:
    unit = {"ad_model": "face.pt", "ad_prompt": prompt, "ad_use_checkpoint": True, "ad_checkpoint": "other"}
    return {
        "prompt": "a cat",
        "seed": 1,
        "override_settings": {"sd_model_checkpoint": "base.safetensors"},
        "alwayson_scripts": {"ADetailer": {"args": [True, False, unit]}},
    }


def picture(model: str, content: str) -> bytes:
    line = f"Steps: 2, Sampler: Euler, Seed: 1, Model hash: {sha256_of(content)[:10]}, Model: {model}"
    return png(64, 64, f"a cat\n{line}")


def made(runner: Any, taken: dict[str, Any], pictures: list[bytes], states: dict[str, str]) -> Any:
    """The run's end, with what the runner says of each file by its path."""
    for number, data in enumerate(pictures):
        assert runner.send(taken, number, data).status_code == 200
    loaded = [
        {"requirement": one["requirement"], "state": states[one["path"]]}
        for one in taken["files"]
        if one["path"] in states
    ]
    return runner.finish(taken, pictures, loaded=loaded).json()


def check(hub: Any, payload: dict[str, Any]) -> dict[str, Any]:
    answer = hub.request("POST", "/api/v1/jobs/check", key=hub.admin, json={"payload": payload})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_plot_over_two_checkpoints_is_handed_over_by_their_names_there(hub: Any, hosts: Any) -> None:
    writer = hosts.add("writer", BASE, OTHER)
    runner = hosts.add("forge", BASE, OTHER_THERE)
    submit(hub, plot("other.safetensors", "base.safetensors"), key=writer.server.key, targets=["forge"])
    taken = runner.next()
    name, base = taken["payload"]["script_args"][2]
    assert (base, runner.webui.find("checkpoint", name).path) == ("base.safetensors", OTHER_THERE[1])
    flags = {one["path"]: (one.get("used", True), one.get("script", False)) for one in taken["files"]}
    assert flags == {BASE[1]: (False, True), OTHER_THERE[1]: (False, True)}
    pictures = [picture("called-otherwise", OTHER[2]), picture("base", BASE[2])]
    answer = made(runner, taken, pictures, {BASE[1]: "loaded", OTHER_THERE[1]: "loaded"})
    assert (answer["state"], answer["outcome"]) == ("completed", "confirmed")


def test_a_plot_that_leaves_out_the_chosen_checkpoint_says_nothing_of_it(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, OTHER)
    job_id = submit(hub, plot("other.safetensors"), key=runner.server.key)
    taken = runner.next()
    answer = made(runner, taken, [picture("other", OTHER[2])], {OTHER[1]: "loaded"})
    assert (answer["state"], answer["outcome"]) == ("completed", "confirmed")
    names = {one["name"] for one in ask(hub, "GET", job_id)["requirements"]}
    assert names == {"base.safetensors", "other.safetensors"}


@pytest.mark.parametrize(
    ("model", "content", "state", "outcome"),
    [
        ("third", "third checkpoint", "loaded", "not_provable"),
        ("other", OTHER[2], "other_file", "wrong"),
        ("base", BASE[2], "unknown", "not_provable"),
        ("third", "third checkpoint", "unknown", "not_provable"),
    ],
)
def test_each_picture_of_a_plot_is_looked_at(
    hub: Any, hosts: Any, model: str, content: str, state: str, outcome: str
) -> None:
    runner = hosts.add("forge", BASE, OTHER)
    submit(hub, plot("other.safetensors", "base.safetensors"), key=runner.server.key)
    pictures = [picture("other", OTHER[2]), picture(model, content)]
    answer = made(runner, runner.next(), pictures, {BASE[1]: "loaded", OTHER[1]: state})
    assert answer["outcome"] == outcome


def test_what_only_a_script_names_is_asked_for(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE)
    for payload in (plot("other.safetensors"), adetailer("face")):
        answer = check(hub, payload)
        assert [one["status"] for one in answer["requirements"]] == ["found", "missing"]
        assert {one["code"] for one in answer["servers"][0]["reasons"]} == {"model_missing"}
    unknown = {**adetailer("x"), "alwayson_scripts": {"Regions": {"args": ["a <lora:ink:1>"]}}}
    assert "models in the arguments of script Regions" in check(hub, unknown)["servers"][0]["not_checked"]


def test_the_prompts_and_the_checkpoint_of_adetailer_are_written_as_there(hub: Any, hosts: Any) -> None:
    writer = hosts.add("writer", BASE, OTHER, INK)
    runner = hosts.add("forge", BASE, OTHER_THERE, INK_THERE)
    submit(hub, adetailer("<lora:ink:0.7> face"), key=writer.server.key, targets=["forge"])
    taken = runner.next()
    unit = taken["payload"]["alwayson_scripts"]["ADetailer"]["args"][2]
    assert unit["ad_prompt"] == "<lora:tusche:0.7> face"
    assert runner.webui.find("checkpoint", unit["ad_checkpoint"]).path == OTHER_THERE[1]
    flags = {one["path"]: (one.get("used", True), one.get("script", False)) for one in taken["files"]}
    only = (False, True)
    assert flags == {BASE[1]: (True, False), OTHER_THERE[1]: only, INK_THERE[1]: only}
    states = {BASE[1]: "loaded", OTHER_THERE[1]: "loaded", INK_THERE[1]: "loaded"}
    assert made(runner, taken, [picture("base", BASE[2])], states)["outcome"] == "confirmed"


def test_a_script_that_never_came_to_its_model_is_not_wrong(hub: Any, hosts: Any) -> None:
    runner = hosts.add("forge", BASE, OTHER, INK)
    submit(hub, adetailer("<lora:ink:0.7> face"), key=runner.server.key)
    states = {BASE[1]: "loaded", OTHER[1]: "unknown", INK[1]: "unknown"}
    answer = made(runner, runner.next(), [picture("base", BASE[2])], states)
    assert (answer["state"], answer["outcome"]) == ("completed", "not_provable")
