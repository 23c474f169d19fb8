"""The form for a new job: from a picture, a text, a finished job; checked and queued."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from typing import Any

import pytest

ON_BOTH_DATABASES = True
BASE = ("checkpoint", "sd/base.safetensors", "base checkpoint")
INK = ("lora", "ink.safetensors", "ink lora")


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


TEXT = f"""a cat <lora:tusche:0.8>
Negative prompt: a dog
Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 512x768, Clip skip: 2, Model hash: \
{sha("base checkpoint")[:10]}, Model: other name, Lora hashes: "tusche: {sha("ink lora")[:12]}", \
Version: f2.0"""


def png(text: str | None) -> bytes:
    """One black pixel with a generation text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))]
    if text is not None:
        parts.append(chunk(b"tEXt", b"parameters\0" + text.encode("latin-1")))
    parts += [chunk(b"IDAT", zlib.compress(b"\0\0\0\0")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def post(hub: Any, path: str, status: int = 200, *, key: str | None = None, **options: Any) -> Any:
    answer = hub.request("POST", f"/views/new/{path}", key=key or hub.admin, **options)
    assert answer.status_code == status, answer.text
    return answer


def queued(hub: Any, fields: dict[str, Any], *, key: str | None = None) -> dict[str, Any]:
    """The job that a form became."""
    answer = post(hub, "queue", key=key, data=fields)
    job_id = answer.headers["x-stablequeue-go"].rpartition("id=")[2]
    job: dict[str, Any] = hub.request("GET", f"/api/v1/jobs/{job_id}", key=hub.admin).json()
    return job


def test_a_picture_fills_the_form_and_says_who_can_make_it(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE, INK)
    form = post(hub, "picture", content=png(TEXT)).text
    assert 'name="steps" value="20"' in form
    assert "Stay as they are: CLIP_stop_at_last_layers." in form
    assert "can make it." in form
    pasted = post(hub, "text", data={"text": TEXT.replace("\n", "\r\n")}).text
    assert pasted == form
    for content in (png(None), b"GIF89a", b""):
        answer = post(hub, "picture", 400, content=content)
        assert answer.json()["error"]["message"] == "This picture carries no generation text."
    assert "cat" not in post(hub, "text", 400, data={"text": " "}).text
    assert "longer than 1 MiB" in post(hub, "text", 413, data={"text": "cat " * 300_000}).text


def test_settings_of_the_text_go_along_and_what_nothing_stands_for_is_told(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE, INK)
    further = "".join(f', ADetailer {n}: "<b>&x:{n}"' for n in range(10))
    text = f"{TEXT}, RNG: CPU, ENSD: 31337, Eta: 0.5, SGM noise multiplier: True{further}"
    form = re.sub(r"</?bdi[^>]*>", "", post(hub, "text", data={"text": text}).text)
    assert "Not taken over from the text: ADetailer 0, ADetailer 1," in form
    assert "ADetailer 7 and 2 more. The picture may come out different." in form
    assert "<b>&x" not in form
    assert "Not taken over" not in post(hub, "text", data={"text": TEXT}).text
    job = queued(hub, {"text": text, "prompt": "a cat", "checkpoint": "", "seed": "5"})
    assert job["payload"]["override_settings"] == {
        "CLIP_stop_at_last_layers": 2,
        "eta_noise_seed_delta": 31337,
        "eta_ancestral": 0.5,
        "randn_source": "CPU",
        "sgm_noise_multiplier": True,
    }


def test_the_hashes_of_the_text_find_the_models_whatever_they_are_called_here(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE, INK, ("lora", "tusche.safetensors", "something else"))
    fields = {"text": TEXT, "prompt": "two cats <lora:tusche:0.5>", "checkpoint": "", "seed": "7"}
    job = queued(hub, fields)
    assert job["payload"].pop("default_settings")["randn_source"] == "GPU"
    assert job["payload"] == {
        "prompt": "two cats <lora:tusche:0.5>",
        "seed": 7,
        "override_settings": {"CLIP_stop_at_last_layers": 2},
    }
    (lora,) = job["requirements"]
    assert (lora["status"], lora["sha256"]) == ("found", sha("ink lora"))


def test_a_finished_job_is_a_start_whose_models_stay_the_same(hub: Any, hosts: Any) -> None:
    forge = hosts.add("forge", BASE, INK)
    payload = {
        "prompt": "a cat <lora:ink:0.8>",
        "seed": 9,
        "cfg_scale": 6.123456789,
        "enable_hr": False,
        "tiling": True,
        "override_settings": {"sd_model_checkpoint": "sd/base.safetensors"},
    }
    body = {"payload": payload, "name": "Cats", "priority": 3, "targets": ["forge"]}
    key = forge.server.key
    first = hub.request("POST", "/api/v1/jobs", key=key, json=body).json()["job_id"]
    hosts.add("attic", ("lora", "ink.safetensors", "another ink"))
    form = hub.request("GET", f"/views/new?from={first}", key=hub.admin).text
    values = [f'value="{value}"' for value in ("Cats", 9, 3, 6.123456789)]
    for part in (*values, "Stay as they are: tiling."):
        assert part in form
    fields = {
        "from_job": first,
        "prompt": "a dog <lora:ink:1>",
        "checkpoint": "sd/base.safetensors",
        "seed": "1",
        "cfg_scale": "6.123456789",
        "targets": [forge.server.server_id],
    }
    job = queued(hub, fields)
    assert job["payload"] == {**payload, "prompt": "a dog <lora:ink:1>", "seed": 1}
    assert [one["sha256"] for one in job["requirements"]] == [sha("base checkpoint"), sha("ink lora")]
    assert job["targets"] == [forge.server.server_id]
    assert hub.request("GET", "/views/new?from=none", key=hub.admin).status_code == 404


def test_an_empty_form_becomes_the_job_that_was_typed(hub: Any, hosts: Any) -> None:
    fields = {
        "prompt": "a fox",
        "negative_prompt": "",
        "width": "640",
        "height": "",
        "steps": "12",
        "cfg_scale": "5.5",
        "sampler_name": "Euler",
        "scheduler": "",
        "checkpoint": "",
        "seed": "",
        "priority": "2",
        "count": "3",
        "seed_rule": "same",
        "name": "Fox",
    }
    answer = post(hub, "queue", data=fields)
    assert answer.headers["x-stablequeue-go"] == "?view=queue"
    found = hub.request("GET", "/api/v1/jobs", key=hub.admin).json()["jobs"]
    assert len(found) == 3
    assert len({job["seed"] for job in found}) == 1
    job = hub.request("GET", f"/api/v1/jobs/{found[0]['job_id']}", key=hub.admin).json()
    assert (job["name"], job["priority"]) == ("Fox", 2)
    assert job["payload"] == {
        "prompt": "a fox",
        "width": 640,
        "steps": 12,
        "cfg_scale": 5.5,
        "sampler_name": "Euler",
        "seed": job["seed"],
    }


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": "x"}, "Steps must be a number."),
        ({"count": "0"}, "`count` must be an integer from 1 to 1,000."),
        ({"seed": "9" * 5000}, "Seed must be a number."),
        ({"cfg_scale": "nan"}, "`cfg_scale` must be a number from 0 to 1,000."),
        ({"width": "9" * 30}, "`width` must be an integer from 1 to 65,536."),
        ({"seed_rule": "x"}, "Unknown seed rule."),
    ],
)
def test_what_cannot_be_queued_says_why(hub: Any, wrong: dict[str, str], says: str) -> None:
    answer = post(hub, "queue", 400, data={"prompt": "secret words", **wrong})
    assert answer.json()["error"]["message"] == says
    assert "secret" not in answer.text


def test_the_check_answers_while_one_types(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE)
    answer = post(hub, "check", data={"prompt": "<lora:ink:1>", "checkpoint": "base"}).text
    assert "No server can make it now" in answer
    assert "No server has ink" in answer
    assert "can make it." in post(hub, "check", data={"prompt": "x", "checkpoint": "base"}).text
    post(hub, "check", 403, key=hub.make_key("view"), data={"prompt": "x"})


def test_models_are_found_to_choose_from(hub: Any, hosts: Any) -> None:
    hosts.add("forge", BASE, INK)
    found = hub.request("GET", "/views/pick?kind=checkpoint&search=bas", key=hub.admin).text
    assert f"[{sha('base checkpoint')[:10]}]" in found
    assert "&lt;lora:ink:1&gt;" in hub.request("GET", "/views/pick?kind=lora", key=hub.admin).text
    assert "No model has this name" in hub.request("GET", "/views/pick?search=zzz", key=hub.admin).text
    for view in ("new", "pick"):
        assert hub.request("GET", f"/views/{view}", key=hub.make_key("view")).status_code == 403
