"""``submit``, ``jobs``, ``queue``, ``explain`` and docs/scripting.md: a real hub, and a runner that works."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from stablequeue_client.cli import main
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.own_hub.hub_process import hub_words
from stablequeue_client.settings import Settings
from stablequeue_client.shared.wire.inventory import (
    Heartbeat,
    JoinRequest,
    ServerCapabilities,
    WorksForOthers,
)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "scripting.md"


def _module(name: str) -> ModuleType:
    """A module beside the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


fake_runner = _module("fake_runner")
SERVER_ID, SECRET = "5" * 32, "6" * 64
PAYLOAD = {
    "prompt": "a cat <lora:ink:0.8>",
    "steps": 9,
    "seed": 5,
    "override_settings": {"sd_model_checkpoint": "base.safetensors"},
}


class Site:
    """A running hub, and a server with a runner that works in a thread of its own."""

    def __init__(self, url: str, data: Path) -> None:
        self.url = url
        self.log = data.parent / "hub.log"
        self.data = ("--data", str(data))
        self.admin = (data / "admin.key").read_text().strip()
        files = [
            fake_runner.DiskFile("checkpoint", "base.safetensors", "base checkpoint"),
            fake_runner.DiskFile("lora", "ink.safetensors", "ink lora"),
        ]
        self.webui = fake_runner.FakeWebUI(files=files)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._join()

    def _join(self) -> None:
        HubApi(self.url, self.admin).join(JoinRequest(SERVER_ID, SECRET, "forge"))
        self.key = f"sq_{SERVER_ID}_{SECRET}"
        api = HubApi(self.url, self.key)
        self.only_for_itself(False)
        path = f"/api/v1/servers/{SERVER_ID}/models/sync"
        assert self.call("POST", path, json=self.webui.inventory()).status_code == 200
        api.heartbeat(SERVER_ID, Heartbeat("boot", 1, "index", 1, "0" * 64))
        threading.Thread(target=self._beat, args=(api,), daemon=True).start()

    def _beat(self, api: HubApi) -> None:
        """Its agent says that it lives."""
        counter = 1
        while not self._stop.wait(5):
            counter += 1
            api.heartbeat(SERVER_ID, Heartbeat("boot", counter, "index", 1, "0" * 64))

    def call(self, method: str, path: str, json: Any = None, content: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.request(method, self.url + path, json=json, data=content, headers=headers, timeout=60)

    def only_for_itself(self, alone: bool) -> None:
        works: WorksForOthers = "never" if alone else "always"
        told = ServerCapabilities(webui="forge", works_for_others=works)
        HubApi(self.url, self.key).put_capabilities(SERVER_ID, told)

    def start(self) -> None:
        """Have the runner work from now on."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _work(self) -> None:
        runner = fake_runner.FakeRunner(self.webui, self.call, SERVER_ID)
        while not self._stop.is_set():
            job = runner.next(wait_s=0.5)
            if job is not None:
                answer = runner.work(job)
                assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data = tmp_path_factory.mktemp("site") / "hub"
    words = [sys.executable, "-m", "stablequeue_hub", "hub", "--data", str(data), "--port", "0"]
    words.append("--legacy-open")
    with open(data.parent / "hub.log", "wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
    try:
        for _ in range(600):
            if (data / "hub.json").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        url = json.loads((data / "hub.json").read_text())["url"]
        found = Site(url, data)
        yield found
        found.stop()
    finally:
        process.terminate()
        process.wait(30)


class Result:
    """What a command left that ran in this process."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class InProcess:
    """Runs ``stablequeue`` here: a process for each of many commands takes longer than they do."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def run(self, *words: str) -> Result:
        self._capture.readouterr()
        code = main(words)
        said = self._capture.readouterr()
        return Result(code, said.out, said.err)


@pytest.fixture
def commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> InProcess:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return InProcess(folder, capsys)


def test_jobs_are_submitted_waited_for_saved_listed_and_shown(
    commands: Any, site: Site, tmp_path: Path
) -> None:
    (commands.folder / "payload.json").write_text(json.dumps(PAYLOAD))
    waiting = commands.run("submit", "payload.json", "--target", "FORGE", "--name", "first", *site.data)
    assert waiting.code == 0, waiting.err
    assert waiting.out.startswith("Queued 1 job: ")
    job_id = waiting.out.split()[-1]
    assert len(job_id) == 8
    listed = commands.run("jobs", "--state", "pending", *site.data)
    (line,) = listed.out.splitlines()[1:]
    assert re.match(rf"{job_id}  (waits|in line)\s+forge ", line)
    assert " first" in line
    shown = commands.run("jobs", "show", job_id, *site.data)
    assert shown.code == 0, shown.err
    assert "Prompt: a cat <lora:ink:0.8>" in shown.out
    assert "forge: " in shown.out

    unnamed = {**PAYLOAD, "prompt": "a dog", "override_settings": {"sd_model_checkpoint": "nobody has it"}}
    (commands.folder / "unnamed.json").write_text(json.dumps(unnamed))
    assert commands.run("submit", "unnamed.json", *site.data).code == 0
    newest = commands.run("jobs", "--limit", "1", *site.data).out.splitlines()[1]
    assert "a dog" in newest
    assert "nobody has it" in newest
    assert commands.run("jobs", "cancel", newest.split()[0], *site.data).code == 0

    site.start()
    pictures = tmp_path / "pictures"
    words = ("submit", "payload.json", "--count", "2", "--priority", "-3", "--save", str(pictures))
    done = commands.run(*words, *site.data)
    assert done.code == 0, done.err + done.out
    saved = sorted(pictures.iterdir())
    assert len(saved) == 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in saved)
    ended = commands.run("jobs", "--json", "show", job_id, *site.data)
    assert ended.code == 0, ended.err
    assert job_id in ended.out
    shown = commands.run("jobs", "show", job_id, *site.data)
    assert "Outcome: made with exactly these models" in shown.out

    # A picture is a job again, and standard input a generation text.
    again = commands.run("submit", str(saved[0]), "--wait", "--json", *site.data)
    assert again.code == 0, again.err + again.out
    (job,) = again.json["jobs"]
    assert (job["payload"]["prompt"], job["payload"]["steps"]) == (PAYLOAD["prompt"], 9)
    starred = commands.run("jobs", "star", job["job_id"][:12], *site.data)
    assert starred.code == 0, starred.err
    explained = commands.run("explain", str(saved[0]), *site.data)
    assert explained.code == 0, explained.err
    assert "forge: ink.safetensors" in explained.out
    assert "exactly this content" in explained.out
    assert "Could be made again on: forge." in explained.out

    gone = commands.run("jobs", "delete", job_id, "ffffffff", "--json", *site.data)
    assert gone.code == 3, gone.out
    assert [one["error"] is None for one in gone.json["jobs"]] == [True, False]
    assert commands.run("jobs", "cancel", job_id, *site.data).code == 1


@pytest.fixture
def goes_on(site: Site) -> Iterator[None]:
    """Whatever fails, the next tests find a queue that is not held back."""
    yield
    api = HubApi(site.url, site.admin)
    api.pause_queue(None, paused=False)
    api.pause_queue(SERVER_ID, paused=False)


@pytest.mark.usefixtures("goes_on")
def test_where_says_what_may_be_meant(commands: InProcess, site: Site) -> None:
    for wanted in ("bas", "basse.safetensors", "BASE_"):
        done = commands.run("where", wanted, *site.data)
        assert done.code == 1
        assert "Did you mean base.safetensors?" in done.out, (wanted, done.out)
    short = commands.run("where", "abcdef123", *site.data)
    assert "A hash counts with 8, 10, 12 or 64 digits; this has 9." in short.out
    assert "Did you mean" not in short.out
    assert "digits" not in commands.run("where", "abc", *site.data).out


def test_the_queue_is_held_back_and_an_impossible_job_says_why(commands: Any, site: Site) -> None:
    assert "The queue is paused" in commands.run("queue", "pause", *site.data).out
    assert commands.run("queue", "resume", "--json", *site.data).json["paused"] is False
    held = commands.run("queue", "pause", "forge", "--json", *site.data).json
    assert [server["paused"] for server in held["servers"]] == [True]
    (commands.folder / "text.txt").write_text("a cat <lora:nobody has it:1>\nSteps: 3, Seed: 1, Size: 64x64")
    done = commands.run("submit", "text.txt", *site.data)
    assert (done.code, "No server can run it now" in done.err) == (0, True)
    assert "nobody has it" in done.err
    job_id = done.out.split()[-1]
    assert commands.run("jobs", "cancel", job_id, *site.data).code == 0
    assert commands.run("jobs", "cancel", job_id, *site.data).code == 5
    for wrong in (("submit", "none.json"), ("submit", "text.txt", "--priority", "11")):
        assert commands.run(*wrong, *site.data).code == 2
    assert commands.run("queue", "resume", "forge", *site.data).code == 0
    (commands.folder / "broken.json").write_text('{"prompt": ')
    assert "not valid JSON at line 1" in commands.run("submit", "broken.json", *site.data).err


RESOURCES = 'Civitai resources: [{"type":"lora","modelVersionId":135867,"modelName":"Tin toys"}]'


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_what_a_job_does_not_take_over_from_a_text_is_named(
    commands: InProcess, site: Site, encoding: str
) -> None:
    text = (
        f"a café\nSteps: 3, Seed: 1, Size: 64x64, ADetailer model: face.pt, {RESOURCES}\nTemplate: a {{b|c}}"
    )
    (commands.folder / "text.txt").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert commands.run("queue", "pause", *site.data).code == 0
    queued = commands.run("submit", "text.txt", *site.data)
    (job_id,) = [
        job["job_id"] for job in HubApi(site.url, site.admin).jobs()["jobs"] if job["state"] == "pending"
    ]
    said = "ADetailer model; Civitai: lora Tin toys (version 135867); Template"
    assert f"Not taken over from the text: {said}." in queued.err
    assert HubApi(site.url, site.admin).job(job_id)["payload"]["prompt"] == "a café"
    explained = commands.run("explain", "text.txt", *site.data)
    assert f"A job made of it would not take over: {said}." in explained.out
    assert commands.run("explain", "--json", "text.txt", *site.data).json["left_out"] == said.split("; ")
    check = HubApi(site.url, site.admin).check_job({"infotext": text})
    assert check["left_out"] == said.split("; ")
    assert commands.run("jobs", "cancel", job_id, *site.data).code == 0


@pytest.mark.usefixtures("goes_on")
def test_submit_and_explain_say_why_no_server_may_make_it(commands: InProcess, site: Site) -> None:
    laptop_id, laptop_secret = "7" * 32, "8" * 64
    HubApi(site.url, site.admin).join(JoinRequest(laptop_id, laptop_secret, "laptop"))
    api = HubApi(site.url, f"sq_{laptop_id}_{laptop_secret}")
    key = {"Authorization": f"Bearer sq_{laptop_id}_{laptop_secret}"}
    path = f"{site.url}/api/v1/servers/{laptop_id}/models/sync"
    requests.post(path, json=site.webui.inventory(), headers=key, timeout=60).raise_for_status()
    api.heartbeat(laptop_id, Heartbeat("boot", 1, "index", 1, "0" * 64))
    site.only_for_itself(True)
    try:
        assert commands.run("queue", "pause", *site.data).code == 0
        (commands.folder / "text.txt").write_text("a cat\nSteps: 3, Seed: 1, Size: 64x64")
        queued = commands.run("submit", "text.txt", *site.data)
        job_id = queued.out.split()[-1]
        explained = commands.run("explain", "text.txt", *site.data)
        assert commands.run("jobs", "cancel", job_id, *site.data).code == 0
        assert "Could be made again on: no server now." in explained.out
        for said in (queued.err, explained.out):
            lines = {line.split(":")[0].strip(): line for line in said.splitlines() if line.startswith("  ")}
            assert "It accepts no jobs from others. Allow them in that WebUI" in lines["forge"]
            assert "only the agent runs there. Install the StableQueue extension" in lines["laptop"]
            assert all("The whole queue is paused." in line for line in lines.values())
    finally:
        site.only_for_itself(False)
        HubApi(site.url, site.admin).forget_server(laptop_id)


def test_a_pair_for_old_clients_is_made_and_taken_in_both_forms(commands: InProcess, site: Site) -> None:
    def made(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stablequeue_client", "keys", "create", "--legacy", *words]
        return subprocess.run(
            [*command, *site.data], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )

    key, secret = made().stdout.split()
    answer = json.loads(made("--json", "--name", "old extension").stdout)
    assert (answer["scope"], answer["name"]) == ("jobs", "old extension")
    for headers in (
        {"X-API-Key": key, "X-API-Secret": secret},
        {"X-API-Key": answer["key"], "X-API-Secret": answer["secret"]},
        {"Authorization": f"Bearer {answer['bearer']}"},
    ):
        found = requests.get(f"{site.url}/api/v2/jobs", headers=headers, timeout=60)
        assert found.status_code == 200, found.text
    assert requests.get(f"{site.url}/api/v2/jobs", timeout=60).status_code == 401
    # This hub was started with --legacy-open, and says so.
    assert requests.get(f"{site.url}/api/v1/queue/jobs", timeout=60).status_code == 200
    assert "without a key" in site.log.read_text()
    opened = replace(Settings(), legacy_open=True)
    assert "--legacy-open" in hub_words(opened, commands.folder, 1)
    assert "--legacy-open" not in hub_words(Settings(), commands.folder, 1)


class ImpatientProxy(_module("proxy").Proxy):  # type: ignore[misc]
    """Ends what waits longer than a second, and loses the hub for every third look at a job or picture."""

    def __init__(self, target: str) -> None:
        self._asked = 0
        super().__init__(target, refuses=self._ends, patience_s=1.0)

    def _ends(self, passing: Any) -> int | None:
        looks = passing.path.startswith("/api/v1/jobs/") and passing.method == "GET"
        self._asked += looks
        lost = looks and self._asked % 3 == 1
        return (502, 503)[self._asked % 2] if lost else None


def test_submit_goes_on_while_a_proxy_ends_what_waits(
    commands: InProcess, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stablequeue_client.commands.submitting.RETRY_MAX_S", 0.1)
    site.start()
    (commands.folder / "payload.json").write_text(json.dumps(PAYLOAD))
    with ImpatientProxy(site.url) as proxy:
        words = ("submit", "payload.json", "--save", "pictures", "--hub", proxy.url, "--key", site.admin)
        done = commands.run(*words)
    assert done.code == 0, done.err
    assert len(list((commands.folder / "pictures").glob("*.png"))) == 1
    assert proxy.refused


@pytest.mark.parametrize("impatient", [False, True], ids=["direct", "behind an impatient proxy"])
def test_the_page_on_scripting_does_what_it_says(site: Site, tmp_path: Path, impatient: bool) -> None:
    """Its blocks, one after the other, as somebody would paste them."""
    site.start()
    with ImpatientProxy(site.url) if impatient else nullcontext() as proxy:
        run_the_page(site, tmp_path, proxy.url if impatient else site.url)


def run_the_page(site: Site, tmp_path: Path, url: str) -> None:
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks].count("python") == 1
    assert len(PAGE.read_text("utf-8").splitlines()) < 150
    lines = ["set -eu -o pipefail"]
    for kind, block in blocks:
        lines.append(block if kind == "bash" else f"python3 - <<'PYTHON'\n{block}PYTHON\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    # No links: a Python that is itself a link loses its virtual environment behind another one.
    for name, words in (("stablequeue", "-m stablequeue_client "), ("python3", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "HUB": url,
        "STABLEQUEUE_DATA": site.data[1],
    }
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=work,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    pictures = [path for path in work.rglob("*.png") if path.read_bytes().startswith(b"\x89PNG")]
    assert len(pictures) == 2 + 3 + 2, said
    assert said.count("confirmed") >= 3
    assert "completed" in said


@pytest.mark.parametrize(
    "text", ["root:x:0:0:root:/root:/bin/bash\n", "a cat\nNegative prompt: dog", "", "Steps"]
)
def test_a_text_that_does_not_say_how_to_make_a_picture_is_no_job(
    commands: InProcess, site: Site, text: str
) -> None:
    before = HubApi(site.url, site.admin).jobs()["total"]
    (commands.folder / "notes.txt").write_text(text)
    refused = commands.run("submit", "notes.txt", *site.data)
    assert (refused.code, "no line with `Steps: ...`" in refused.err) == (2, True)
    assert '{"prompt": "..."}' in refused.err
    assert "root" not in refused.err
    assert HubApi(site.url, site.admin).jobs()["total"] == before


@pytest.mark.parametrize("wrong", ["job", "key", "hub"])
def test_the_loop_that_waits_on_that_page_ends_with_the_first_error(
    site: Site, tmp_path: Path, wrong: str
) -> None:
    (loop,) = re.findall(r"```bash\n(wait_for.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    hub = "http://127.0.0.1:9" if wrong == "hub" else site.url
    key = "sq_no_" + "0" * 64 if wrong == "key" else site.admin
    done = subprocess.run(
        ["bash", "-c", f"set -eu -o pipefail\n{loop}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HUB": hub, "KEY": key, "IDS": "no-such-job"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    said = {"job": '"not_found"', "key": '"authentication_required"', "hub": "curl"}[wrong]
    assert said in done.stderr
    assert done.stderr.count("curl:") + done.stderr.count('{"error"') == 1, done.stderr


def test_a_picture_is_explained_from_this_computers_files_alone(commands: InProcess, tmp_path: Path) -> None:
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "renamed.ckpt").write_bytes(b"\x80\x02these very bytes")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "ink.pt").write_bytes(b"\x80\x02a LoRA")
    data = ("--data", str(tmp_path / "data"))
    folders = ("--checkpoints", str(tmp_path / "sd"), "--loras", str(tmp_path / "lora"))
    assert commands.run("scan", *folders, *data).code == 0
    sha256 = hashlib.sha256(b"\x80\x02these very bytes").hexdigest()
    settings = f"Steps: 3, Seed: 1, Size: 64x64, Model hash: {sha256[:10]}, Model: base"
    text = f"a cat <lora:ink:1> <lora:gone:1>\n{settings}"
    (commands.folder / "cat.png").write_bytes(fake_runner.png(64, 64, text))
    found = commands.run("explain", "cat.png", "--json", *data)
    assert found.code == 0, found.err
    assert {one["name"]: (one["verdict"], one["where"]) for one in found.json["models"]} == {
        "base": ("this", ["this computer: renamed.ckpt"]),
        "ink": ("called_so", ["this computer: ink.pt"]),
        "gone": ("nowhere", []),
    }
    assert [one.split()[0] for one in found.json["cannot_tell"]] == ["ink", "gone"]
    shown = commands.run("explain", "cat.png", *data)
    assert "exactly this content" in shown.out
    away = commands.run("explain", "cat.png", "--hub", "http://127.0.0.1:9", "--key", "k", *data)
    assert (away.code, "does not answer" in away.err, "renamed.ckpt" in away.out) == (3, True, True)
    (commands.folder / "plain.png").write_bytes(fake_runner.png(64, 64, ""))
    nothing = commands.run("explain", "plain.png", *data)
    assert (nothing.code, "no generation text" in nothing.err) == (2, True)


def test_a_key_that_may_only_look_explains_too(commands: InProcess, site: Site) -> None:
    view = HubApi(site.url, site.admin).create_key("view")["key"]
    (commands.folder / "text.txt").write_text(
        f"a cat <lora:ink:1>\nSteps: 3, Seed: 1, Size: 64x64, Model hash: "
        f"{fake_runner.sha256_of('base checkpoint')[:10]}, Model: another name"
    )
    words = ("explain", "text.txt", "--hub", site.url, "--key", view, "--data", str(commands.folder / "data"))
    found = commands.run(*words, "--json")
    assert found.code == 0, found.err
    assert {one["name"]: (one["verdict"], one["where"]) for one in found.json["models"]} == {
        "another name": ("this", ["forge: base.safetensors"]),
        "ink": ("called_so", ["forge: ink.safetensors"]),
    }
    assert found.json["servers"] is None
