"""Jobs of a real hub, made in both fake hosts, whose silent failures are those of the real ones."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stablequeue_client.hub_client.api import HubApi, Json

from ..agent.real_hub import RealHub
from .conftest import start_host  # noqa: F401 - a fixture
from .running_host import FAMILIES, FakeHost, StartHost, host_python

FILES: dict[str, tuple[dict[str, str], bytes]] = {
    "Stable-diffusion/alpha.safetensors": ({}, b"alpha"),
    "Stable-diffusion/sub/beta.safetensors": ({}, b"beta"),
    "Stable-diffusion/broken.safetensors": ({}, b"BROKEN checkpoint"),
    "Lora/ink.safetensors": ({"ss_output_name": "ink_alias"}, b"ink"),
    "Lora/swapped.safetensors": ({}, b"as it was read"),
    "Lora/broken.safetensors": ({}, b"BROKEN lora"),
    "Lora/unfit.safetensors": ({}, b"UNFIT lora"),
    "VAE/soft.safetensors": ({}, b"soft"),
}
SAMPLER = {"forge": ("DPM++ 2M", "Karras"), "classic": ("DPM++ 2M Karras", None)}


def write_safetensors(path: Path, metadata: dict[str, str], payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensor = {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}
    header = json.dumps({"__metadata__": metadata, "w": tensor}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + payload)


def until(true: Callable[[], Any], what: str, limit_s: float = 30) -> Any:
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Server:
    """A fake host that joined the hub and works for others."""

    family: str
    host: FakeHost
    hub: RealHub
    admin: HubApi
    """SHA256 of the picture made with the file that was replaced since."""

    @property
    def models(self) -> Path:
        return self.host.data / "models"

    def payload(self, prompt: str = "a cat", checkpoint: str = "sub/beta.safetensors", **more: Any) -> Json:
        sampler, scheduler = SAMPLER[self.family]
        fields = {"sampler_name": sampler, "scheduler": scheduler, "seed": 5, "steps": 3, **more}
        settings = {"sd_model_checkpoint": checkpoint, **fields.pop("override_settings", {})}
        return {"prompt": prompt, **fields, "override_settings": settings}

    def submit(self, payload: Json) -> str:
        answer = self.admin.submit_job({"payload": payload, "targets": [self.family], "server": self.family})
        return str(answer["job_id"])

    def ended(self, job_id: str, limit_s: float = 30) -> Json:
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            job = self.admin.job(job_id, wait_s=5)
            if job["state"] not in ("pending", "processing"):
                return job
        raise AssertionError((job, self.admin.job_why(job_id), self.host.log[-3000:]))

    def done(self, payload: Json) -> Json:
        """The finished job, as its report shows it."""
        job_id = self.submit(payload)
        self.ended(job_id)
        return self.admin.job_report(job_id)

    def runs(self, job_id: str) -> list[Json]:
        return list(self.admin.job_report(job_id)["runs"])


@pytest.fixture(scope="module")
def servers(
    start_host: StartHost,  # noqa: F811 - the fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Server]]:
    """One hub, and a server of each family; both start at once."""
    folder = tmp_path_factory.mktemp("runner")
    for family in FAMILIES:
        host_python(family)
    hub = RealHub(folder / "hub")
    hub.data.mkdir()
    hub.start()
    made: dict[str, Server] = {}

    def start(family: str) -> None:
        data = folder / family / "webui"
        for name, (metadata, payload) in FILES.items():
            write_safetensors(data / "models" / name, metadata, payload)
        environment = {
            "STABLEQUEUE_HUB": hub.url,
            "STABLEQUEUE_JOIN": hub.join_key(),
            "STABLEQUEUE_ALIAS": family,
            "STABLEQUEUE_HASHING": "now",
            "STABLEQUEUE_WORKS_FOR_OTHERS": "always",
        }
        host = start_host(family, data, environment=environment)
        made[family] = Server(family, host, hub, hub.admin())

    threads = [threading.Thread(target=start, args=(family,)) for family in FAMILIES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for server in made.values():
        until(lambda: _knows_all(hub), f"the files of {server.family}", 60)
    yield made
    hub.kill()


def _knows_all(hub: RealHub) -> bool:
    known = {one["alias"]: one for one in hub.admin().servers()}
    return all(
        known.get(family, {}).get("files", {}).get("ready", 0) >= len(FILES)
        and (known[family].get("capabilities") or {}).get("samplers")
        for family in FAMILIES
    )


@pytest.fixture(params=FAMILIES)
def server(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Server:
    return servers[request.param]


SETTINGS = """
from modules import shared
result = [shared.opts.data.get("sd_model_checkpoint"), shared.opts.data.get("CLIP_stop_at_last_layers"),
          shared.opts.data.get("sd_vae")]
"""
FORGET_AN_OPTION = """
from modules import shared
shared.opts.data.pop("CLIP_stop_at_last_layers", None)
result = None
"""


def test_a_picture_comes_confirmed_and_everything_is_as_before(server: Server) -> None:
    server.host.run(FORGET_AN_OPTION)  # as in a config.json of an older version
    before = server.host.run(SETTINGS)
    payload = server.payload(
        "a cat <lora:ink:0.8>",
        override_settings={"CLIP_stop_at_last_layers": 2, "sd_vae": "soft.safetensors"},
    )
    report = server.done(payload)
    assert report["job"]["state"] == "completed", report["job"]
    assert report["job"]["outcome"] == "confirmed"
    assert [use["loaded"] for use in report["runs"][0]["uses"]] == ["loaded"] * 3
    picture = server.admin.job_picture(report["job"]["job_id"], 0)
    assert picture.startswith(b"\x89PNG")
    assert b"Model: beta" in picture
    assert list((server.host.data / "outputs").rglob("*.png"))
    assert server.host.run(SETTINGS) == before


CHANGE_AN_OPTION = """
from modules import shared
at_work = shared.state.sampling_step > 3 and shared.opts.data.get("CLIP_stop_at_last_layers") == 2
if at_work:
    shared.opts.data["CLIP_stop_at_last_layers"] = 5
result = at_work
"""


def test_a_setting_that_its_owner_changes_while_a_job_runs_stays_changed(server: Server) -> None:
    server.host.run(FORGET_AN_OPTION)
    settings = {"CLIP_stop_at_last_layers": 2}
    job_id = server.submit(server.payload(steps=400, override_settings=settings))
    until(lambda: server.host.run(CHANGE_AN_OPTION), "the job to run", 20)
    assert server.ended(job_id)["state"] == "completed"
    assert server.host.run(SETTINGS)[1] == 5
    server.host.run(FORGET_AN_OPTION)


def test_the_same_job_gives_the_same_picture_and_an_alias_means_its_file(server: Server) -> None:
    first = server.done(server.payload("a cat <lora:ink:0.8>"))
    again = server.done(server.payload("a cat <lora:ink_alias:0.8>"))
    without = server.done(server.payload("a cat"))
    pictures = [one["job"]["pictures"][0]["sha256"] for one in (first, again, without)]
    assert [one["job"]["outcome"] for one in (first, again, without)] == ["confirmed"] * 3
    assert pictures[0] != pictures[2]
    assert first["job"]["state"] == again["job"]["state"] == "completed"


def test_a_file_that_changed_between_two_looks_sends_the_job_back(server: Server) -> None:
    path = server.models / "Lora" / "swapped.safetensors"
    former = server.done(server.payload("a cat <lora:swapped:1>"))["job"]["pictures"][0]["sha256"]
    server.admin.pause_queue(None, paused=True)
    job_id = server.submit(server.payload("a cat <lora:swapped:1>"))
    stamps = path.stat()
    other = path.with_suffix(".new")
    write_safetensors(other, {}, f"other {server.family}".encode()[:14].ljust(14))
    os.utime(other, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    os.replace(other, path)
    server.admin.pause_queue(None, paused=False)
    run = until(lambda: [one for one in server.runs(job_id) if one["ended"]], "the job to go back")[0]
    assert run["ended"] == "refused"
    assert "swapped" in run["text"]
    server.admin.cancel_job(job_id)
    # Once it was read again, jobs use what lies there now, though the host still has the former in memory.
    report = until(lambda: _with_new_content(server), "the new content to be read")
    assert report["job"]["outcome"] == "confirmed"
    assert report["job"]["pictures"][0]["sha256"] != former


def test_what_this_webui_does_not_have_sends_the_job_back_and_is_named(server: Server) -> None:
    for more, word in (
        ({"styles": ["nobody's"]}, "nobody's"),
        (
            {"override_settings": {"no_such_option": 3}},
            "no_such_option",
        ),
    ):
        job_id = server.submit(server.payload(**more))
        run = until(lambda job_id=job_id: [one for one in server.runs(job_id) if one["ended"]], word)[0]
        assert (run["ended"], word in run["text"]) == ("refused", True), run
        server.admin.cancel_job(job_id)


def test_the_words_of_a_style_and_the_defaults_of_the_submitter_count(server: Server) -> None:
    brought = server.payload(styles=[["{prompt} <lora:swapped:1>", "blurry"]])
    defaults = {"CLIP_stop_at_last_layers": 1, "no_such_option": 1}
    first = server.done(brought)
    server.host.run(
        "from modules import shared, styles\n"
        "theirs = styles.PromptStyle('x', 'their own', '', 'do_not_save')\n"
        "shared.prompt_styles.styles['style 1 of a job'] = theirs\n"
        "shared.opts.set('CLIP_stop_at_last_layers', 2)"
    )
    again = server.done({**brought, "default_settings": defaults})
    other = server.done(brought)
    assert (again["job"]["outcome"], "swapped" in str(again["models"])) == ("confirmed", True)
    pictures = [one["job"]["pictures"][0]["sha256"] for one in (first, again, other)]
    assert pictures[0] == pictures[1] != pictures[2]
    told = server.host.run(
        "from modules import shared\n"
        "found = shared.prompt_styles.styles\n"
        "result = [type(found).__name__, found.pop('style 1 of a job').prompt,\n"
        "          shared.opts.CLIP_stop_at_last_layers]\n"
        "shared.opts.set('CLIP_stop_at_last_layers', 1)"
    )
    assert told == ["dict", "their own", 2]


def test_a_cancelled_job_is_interrupted_and_the_next_one_runs(server: Server) -> None:
    job_id = server.submit(server.payload(steps=2000))
    until(lambda: (server.admin.job(job_id)["progress"] or 0) > 0, "progress", 15)
    server.admin.cancel_job(job_id)
    assert server.done(server.payload())["job"]["outcome"] == "confirmed"
    assert server.runs(job_id)[0]["ended"] == "cancelled"


def _with_new_content(server: Server) -> Json | None:
    """A finished job with the LoRA as it is now; None while it was not read in full again."""
    job_id = server.submit(server.payload("a cat <lora:swapped:1>"))
    time.sleep(0.5)
    if server.admin.job(job_id)["state"] == "pending":
        server.admin.cancel_job(job_id)
        return None
    if server.ended(job_id)["outcome"] == "not_provable":
        return None
    return server.admin.job_report(job_id)


def test_a_result_waits_on_the_disk_while_the_hub_is_away(servers: dict[str, Server]) -> None:
    server = servers["classic"]
    job_id = server.submit(server.payload(steps=100))
    until(lambda: server.admin.job(job_id)["state"] == "processing", "the job to run")
    server.hub.kill()
    until(lambda: list(server.host.stablequeue.rglob("result.json")), "the result to be kept")
    server.hub.start()
    job = server.ended(job_id, 60)
    assert (job["state"], job["outcome"], job["attempts"]) == ("completed", "confirmed", 0)
    until(lambda: not list(server.host.stablequeue.rglob("result.json")), "the kept result to go")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_of_which_no_layer_fits_made_no_difference(servers: dict[str, Server], family: str) -> None:
    server = servers[family]
    for prompt, told in (
        ("a cat <lora:unfit:1>", ["no_difference"]),
        ("a cat <lora:unfit:1>", ["no_difference"]),
        ("a cat <lora:ink:1> <lora:unfit:1>", ["loaded", "no_difference"]),
    ):
        report = server.done(server.payload(prompt))
        uses = [one["confirmation"]["reason"] for one in report["runs"][-1]["uses"]]
        assert (report["job"]["outcome"], uses) == ("not_provable", ["loaded", *told]), report["runs"]


def test_a_folder_of_pictures_that_cannot_be_used_holds_the_server_until_it_can(
    servers: dict[str, Server], tmp_path: Path
) -> None:
    server = servers["forge"]
    wall = tmp_path / "outputs"
    wall.write_text("a file where the folder should be")
    setting = "from modules import shared\nshared.opts.data['outdir_samples'] = {!r}\nresult = 1"
    server.host.run(setting.format(str(wall / "pictures")))
    try:
        job_id = server.submit(server.payload("held"))
        why = until(
            lambda: (w := server.admin.job_why(job_id)) and w["waiting_code"] == "server_trouble" and w,
            "the trouble to be told",
        )
        assert str(wall) in why["servers"][0]["reasons"][0]["text"] or str(wall) in str(why)
        wall.unlink()
        assert server.ended(job_id, 60)["state"] == "completed"
        assert server.admin.job(job_id)["attempts"] == 0
    finally:
        server.host.run(setting.format(""))


GENERATE = """
from modules import processing, shared, sd_models, scripts
p = processing.StableDiffusionProcessingTxt2Img(
    prompt="mine", negative_prompt="", styles=[], seed=1, steps=1, n_iter=1, sampler_name="Euler", width=8,
    height=8, scheduler=None, override_settings_restore_afterwards=True, do_not_save_samples=True)
result = processing.process_images(p).infotexts[0]
"""


def test_a_lora_that_cannot_be_loaded_never_passes_for_a_good_picture(server: Server) -> None:
    until(
        lambda: server.done(server.payload())["job"]["state"] == "completed", "the server to work again", 90
    )
    report = server.done(server.payload("a cat <lora:ink:1> <lora:broken:1>"))
    assert (report["job"]["state"], report["job"]["outcome"]) == ("failed", "wrong"), report["job"]
    assert (server.models / "Lora" / "broken.safetensors").exists()
    assert server.done(server.payload("a cat <lora:ink:1>"))["job"]["outcome"] == "confirmed"


def test_after_a_checkpoint_that_cannot_be_loaded_people_generate_as_before(
    servers: dict[str, Server],
) -> None:
    server = servers["forge"]
    job_id = server.submit(server.payload(checkpoint="broken.safetensors"))
    job = server.ended(job_id)
    (run,) = server.runs(job_id)
    assert (run["ended"], "corrupted" in run["text"]) == ("failed", True), run
    assert (job["failure"], job["attempts"]) == ("model_unloadable", 1)
    assert "broken.safetensors" in job["failure_text"]
    assert "sd_models.py" in run["traceback"]
    (requirement,) = job["requirements"]
    model = server.admin.model(requirement["sha256"])
    assert "corrupted" in str([one["unloadable"] for one in model["servers"]])
    assert (server.models / "Stable-diffusion" / "broken.safetensors").exists()
    assert "Model: " in server.host.run(GENERATE)


NOT_NOW = """
import os
from stablequeue_client.webui.shell import loading
runner = loading._loaded[os.getpid()].result().runner
runner.not_now()
result = runner.state().not_now_until_ms
"""
AGAIN = """
import os
from stablequeue_client.webui.shell import loading
runner = loading._loaded[os.getpid()].result().runner
runner.resume_helping()
result = runner.state().not_now_until_ms
"""


def test_not_now_gives_the_job_back_without_an_attempt(servers: dict[str, Server]) -> None:
    server = servers["classic"]  # the hub gives it nothing for a minute then
    job_id = server.submit(server.payload(steps=2000))
    until(lambda: server.admin.job(job_id)["state"] == "processing", "the job to run")
    assert server.host.run(NOT_NOW)
    until(lambda: server.admin.job(job_id)["state"] == "pending", "the job to go back")
    assert server.admin.job(job_id)["attempts"] == 0
    assert [run["ended"] for run in server.runs(job_id)] == ["refused"]
    server.admin.cancel_job(job_id)
    assert server.host.run(AGAIN) is None
