"""The thread in a WebUI that keeps an agent running, with real agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from stablequeue_client.agent.agent_settings import CAPABILITIES_NAME
from stablequeue_client.index.index import open_index
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.webui.agent_process.command_line import agent_environment, agent_words
from stablequeue_client.webui.agent_process.keeper import AgentKeeper
from stablequeue_client.webui.host.extension_folders import ExtensionFolders
from stablequeue_client.webui.host.known_folders import KnownFolders
from stablequeue_client.webui.settings.webui_settings import WebuiSettings

from .keeper_host import PlainRuntime, keeper_of, plain_runtime
from .real_hub import environment, index_rows, until, write_model

HOST = Path(__file__).with_name("keeper_host.py")


def agents_of(server: Path) -> list[psutil.Process]:
    """The running agents of a data folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "agent" in words and f"--data={server}" in words and process.info["status"] != "zombie":
            found.append(process)
    return found


def only_agent(server: Path) -> psutil.Process:
    until(lambda: len(agents_of(server)) == 1, 20, "one agent")
    return agents_of(server)[0]


@pytest.fixture
def rt(tmp_path: Path) -> PlainRuntime:
    write_model(tmp_path / "loras" / "a.safetensors", 20_000, 1)
    return plain_runtime(tmp_path / "machine", tmp_path / "server", [("lora", str(tmp_path / "loras"))])


@contextmanager
def kept(rt: PlainRuntime) -> Iterator[AgentKeeper]:
    keeper = keeper_of(rt)
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop(15)
        assert agents_of(rt.places.server_dir) == []


def test_it_starts_one_agent_that_reads_the_webuis_folders_and_ends_it_when_told(rt: PlainRuntime) -> None:
    with kept(rt) as keeper:
        keeper.start()  # as "Reload UI" does
        until(lambda: index_rows(rt.places.server_dir)["a.safetensors"][0] == "ready", 30, "the file")
        assert len([name for name in threads() if name == "stablequeue-keeper"]) == 1
        until(lambda: keeper.state().running, 5, "its state")
        assert keeper.state().problem == ""
        assert only_agent(rt.places.server_dir).cwd() == str(rt.places.server_dir)
    assert not keeper.state().running


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_starting_costs_the_calling_thread_nothing(rt: PlainRuntime) -> None:
    keeper = keeper_of(rt)
    before = time.perf_counter()
    keeper.start()
    taken = time.perf_counter() - before
    keeper.stop(15)
    assert taken < 0.05


def test_a_killed_agent_is_started_again_and_its_end_is_told(rt: PlainRuntime) -> None:
    with kept(rt) as keeper:
        first = only_agent(rt.places.server_dir)
        first.kill()
        until(lambda: "was stopped from outside (signal 9)" in keeper.state().problem, 5, "the sentence")
        assert "printed nothing" not in keeper.state().problem
        until(
            lambda: [p.pid for p in agents_of(rt.places.server_dir)] not in ([], [first.pid]), 20, "another"
        )
        until(lambda: keeper.state().running, 5, "its state")
        until(lambda: keeper.state().problem == "", 4, "nothing more to tell")


def test_an_agent_that_ends_again_and_again_stays_told(rt: PlainRuntime) -> None:
    with kept(rt) as keeper:
        seen = []
        for _ in range(2):
            until(lambda: keeper.state().running, 20, "its state")
            only_agent(rt.places.server_dir).kill()
            until(lambda: not keeper.state().running, 5, "its end")
        until(lambda: keeper.state().running, 20, "its state")
        for _ in range(6):
            time.sleep(0.5)
            seen.append(keeper.state().problem)
        assert all(seen), seen


def test_another_setting_starts_it_again_and_the_same_ones_do_not(rt: PlainRuntime) -> None:
    with kept(rt) as keeper:
        first = only_agent(rt.places.server_dir)
        keeper.restart()
        time.sleep(2)
        assert only_agent(rt.places.server_dir).pid == first.pid
        rt.chosen = replace(rt.chosen, hashing="later")
        keeper.restart()
        until(
            lambda: [p.pid for p in agents_of(rt.places.server_dir)] not in ([], [first.pid]), 20, "another"
        )
        assert "--hashing=later" in only_agent(rt.places.server_dir).cmdline()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a matter of POSIX")
def test_when_the_webui_is_killed_its_agent_is_gone_within_three_seconds(tmp_path: Path) -> None:
    write_model(tmp_path / "loras" / "a.safetensors", 20_000, 1)
    server = tmp_path / "server"
    told = {
        "machine": str(tmp_path / "machine"), "server": str(server),
        "folders": [["lora", str(tmp_path / "loras")]],
    }  # fmt: skip
    webui = subprocess.Popen([sys.executable, str(HOST), json.dumps(told)], env=environment())
    try:
        until(lambda: index_rows(server)["a.safetensors"][0] == "ready", 30, "the file")
        agent = only_agent(server)
    finally:
        webui.send_signal(signal.SIGKILL)
        webui.wait()
    assert until(lambda: agents_of(server) == [], 10, f"the end of {agent.pid}") <= 3.0


def test_an_agent_that_cannot_start_says_why(tmp_path: Path) -> None:
    rt = plain_runtime(tmp_path / "machine", tmp_path / "server", [])
    with kept(rt) as keeper:
        until(lambda: "No model folder was given" in keeper.state().problem, 20, "the reason")
        assert not keeper.state().running
        assert "No model folder was given" in keeper.state().last_output


def test_what_the_webui_can_do_is_written_when_it_is_up_and_never_while_it_generates(
    rt: PlainRuntime,
) -> None:
    file = rt.places.server_dir / CAPABILITIES_NAME

    def said() -> ServerCapabilities:
        return msgspec.json.decode(file.read_bytes(), type=ServerCapabilities)

    rt.host.up = False
    with kept(rt) as keeper:
        until(lambda: said().webui == "forge" and said().samplers == [], 10, "its family")
        rt.host.generating = rt.host.up = True
        keeper.restart()
        time.sleep(2)
        assert said().samplers == []
        rt.host.generating = False
        until(lambda: said().samplers == ["Euler"], 10, "all of it")
        rt.chosen = replace(rt.chosen, works_for_others="idle")
        keeper.restart()
        until(lambda: said().works_for_others == "idle", 10, "the consent")


def test_while_the_webui_generates_the_agent_rests(rt: PlainRuntime) -> None:
    rt.host.generating = True
    with kept(rt):
        only_agent(rt.places.server_dir)
        until(lambda: (rt.places.server_dir / "index.sqlite").exists(), 20, "the index")

        def waits_for() -> str:
            index = open_index(rt.places.server_dir, repair=False)
            found = index.agent_report()
            index.close()
            return found.waits_for if found else "?"

        until(lambda: waits_for() == "generating", 20, "the rest")
        time.sleep(6)
        assert waits_for() == "generating"
        rt.host.generating = False
        until(lambda: index_rows(rt.places.server_dir)["a.safetensors"][0] == "ready", 20, "the file")


# --- folders that are away --------------------------------------------------------------------------------


def test_a_folder_that_is_unplugged_stays_one_of_the_webui_and_one_not_used_any_more_does_not(
    tmp_path: Path,
) -> None:
    used, disk = tmp_path / "used", tmp_path / "disk"
    used.mkdir()
    disk.mkdir()
    named = [("lora", str(used)), ("lora", str(disk))]

    def ask() -> tuple[tuple[str, str], ...]:
        return tuple(item for item in named if Path(item[1]).is_dir())

    def known() -> set[str]:
        return {path for _, path in KnownFolders(ask, tmp_path / "server").now()}  # type: ignore[arg-type]

    assert known() == {str(used), str(disk)}
    disk.rename(tmp_path / "unplugged")
    assert known() == {str(used), str(disk)}, "also after a restart of the WebUI"
    (tmp_path / "unplugged").rename(disk)
    named.remove(("lora", str(disk)))
    assert known() == {str(used)}


def test_folders_that_do_not_answer_hold_up_nobody(tmp_path: Path) -> None:
    answers: list[str] = ["/models/lora"]
    hung = threading.Event()

    def ask() -> tuple[tuple[str, str], ...]:
        if len(answers) > 1:
            hung.wait(30)
        return tuple(("lora", path) for path in answers)

    folders = KnownFolders(ask, tmp_path)  # type: ignore[arg-type]
    assert folders.now() == (("lora", "/models/lora"),)
    answers.append("/models/more")
    before = time.monotonic()
    assert folders.now(0.1) == (("lora", "/models/lora"),)
    assert folders.now(0.1) == (("lora", "/models/lora"),)
    assert time.monotonic() - before < 15, "as long as it hangs"
    hung.set()
    assert len(folders.now(5)) == 2


# --- the command line -------------------------------------------------------------------------------------


def test_the_command_line_says_all_and_no_secret_stands_in_it(tmp_path: Path) -> None:
    places = ExtensionFolders(tmp_path, tmp_path / "server", tmp_path / "extension")
    chosen = WebuiSettings(
        hub="http://hub:8383", alias="-box", private=("-secret/*",), sync="manual", watch=False,
        sync_on_start=False, extra_folders=(("vae", "/more vae"),),
    )  # fmt: skip
    words = agent_words(chosen, [("checkpoint", "/a")], places, python="python", cache_dir="/cache")
    given = agent_environment(
        {"PATH": "/bin", "STABLEQUEUE_DATABASE": "secret", "PYTHONPATH": "/x"}, places,
        parent="1:2.0", join="sq_id_secret",
    )  # fmt: skip
    for word in (
        "--checkpoints=/a", "--vae=/more vae", "--alias=-box", "--private=-secret/*", "--sync=manual",
        "--no-watch", "--no-sync-on-start", "--webui-cache=/cache", "--hashing=idle", f"--digests={tmp_path}",
    ):  # fmt: skip
        assert word in words
    assert not any("secret" in word and "private" not in word for word in words)
    assert given["STABLEQUEUE_JOIN"] == "sq_id_secret"
    assert given["STABLEQUEUE_PARENT"] == "1:2.0:webui"
    assert given["PYTHONPATH"] == os.pathsep.join([str(tmp_path / "extension"), "/x"])
    assert "STABLEQUEUE_DATABASE" not in given


# --- a full disk ------------------------------------------------------------------------------------------


def mounted_small(folder: Path) -> bool:
    """Whether a file system of 3 MB lies at ``folder`` now."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    return os.name == "posix" and subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.fault
def test_on_a_full_disk_the_agent_stays_says_so_and_catches_up_by_itself(tmp_path: Path) -> None:
    small = tmp_path / "small"
    if not mounted_small(small):
        pytest.skip("mounting is not allowed here")
    try:
        write_model(tmp_path / "loras" / "a.safetensors", 20_000, 1)
        rt = plain_runtime(tmp_path / "machine", small / "server", [("lora", str(tmp_path / "loras"))])
        with kept(rt) as keeper:
            server = rt.places.server_dir
            until(lambda: index_rows(server)["a.safetensors"][0] == "ready", 30, "the first file")
            agent = only_agent(server).pid
            filler = small / "filler"
            with pytest.raises(OSError, match="space"):
                filler.write_bytes(bytes(4_000_000))
            for number in range(40):
                write_model(tmp_path / "loras" / f"{number}.safetensors", 20_000, number)
            until(lambda: "is full" in keeper.state().problem, 10, "the sentence")
            time.sleep(3)
            assert only_agent(server).pid == agent, "it was not ended by the full disk"
            filler.unlink()
            until(lambda: keeper.state().problem == "", 20, "the end of the problem")
            until(lambda: len(index_rows(server)) == 41, 60, "all files")
            assert only_agent(server).pid == agent
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
