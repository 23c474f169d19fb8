"""``stablequeue up``: everything starts, is found, and ends together."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from ..slowness import slowness

LINK = re.compile(r"(http://127\.0\.0\.1:(\d+))/login\?code=(\S+)")


def link_of(running: Any) -> re.Match[str]:
    found: re.Match[str] = running.wait_for(lambda: LINK.search(running.text))
    return found


def signed_in(link: re.Match[str]) -> requests.Session:
    browser = requests.Session()
    answer = browser.get(link.group(0), timeout=20)
    assert answer.status_code == 200, answer.text[:500]
    return browser


def family(running: Any) -> list[psutil.Process]:
    return psutil.Process(running.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process], timeout: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_the_demo_shows_three_servers_and_ends_without_a_trace(
    start: Callable[..., Any], commands: Any, tmp_path: Path, free_port: int
) -> None:
    data = str(tmp_path / "demo")
    began = time.monotonic()
    up = start("up", "--demo", "--data", data, "--no-browser", "--port", str(free_port))
    link = link_of(up)
    browser = signed_in(link)
    page = browser.get(link.group(1), timeout=20)
    assert page.status_code == 200
    assert "sample" in page.text.lower()

    def all_there() -> Any:
        servers = browser.get(f"{link.group(1)}/api/v1/servers", timeout=20).json()
        ready = [server for server in servers if server["files"].get("ready", 0) >= 10]
        return {server["alias"] for server in ready} == {"forge-a", "forge-b", "classic"}

    up.wait_for(all_there)
    assert time.monotonic() - began < 45 * slowness(time.perf_counter)
    models = browser.get(f"{link.group(1)}/api/v1/models", timeout=20).json()
    assert models["total"] >= 25
    again = requests.get(link.group(0), timeout=20)
    assert again.status_code in (401, 403), "a one-time code works once"

    where = commands.run("where", "aquarelleXL_v30", "--data", data, "--json")
    assert where.code == 0, where.err
    assert {row["alias"] for row in where.json["servers"]} == {"forge-a", "forge-b"}
    assert commands.run("where", "nightcityMix_v2", "--data", data, "--json").json["ambiguous"] is True
    assert commands.run("where", "no_such_model", "--data", data).code == 1
    renamed = commands.run("servers", "rename", "classic", "attic", "--data", data)
    assert renamed.code == 0, renamed.err
    assert "attic" in commands.run("servers", "list", "--data", data).out

    agent = str(tmp_path / "demo" / "servers" / "forge-b" / "data")
    put_back = commands.run("put-back", "pixel_quest.safetensors.corrupted", "--data", agent)
    assert put_back.code == 0, put_back.err
    lora = tmp_path / "demo/servers/forge-b/webui/models/Lora/pixel_quest.safetensors"
    up.wait_for(lora.exists)
    for order in (("pause", "5"), ("resume",), ("sync",)):
        assert commands.run(*order, "--data", agent).code == 0
    assert commands.run("status", "--data", agent, "--json").json["running"] is True

    second = commands.run("up", "--demo", "--data", data, "--no-browser", "--json")
    assert second.code == 0, second.err
    assert second.json["url"] == link.group(1)
    assert requests.get(second.json["login"], timeout=20).status_code == 200

    children = family(up)
    assert len(children) == 3  # one of the computers is switched off
    assert not [word for child in children for word in child.cmdline() if "sq_" in word], "no secret in argv"
    assert up.end(signal.SIGTERM) == 0
    assert gone(children, 5)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "tiny.ckpt").write_bytes(b"\x80\x02" + b"x" * 1000)
    return tmp_path / "sd"


def test_a_port_that_is_taken_once_does_not_move_the_hub_for_good(
    start: Callable[..., Any], tmp_path: Path, models: Path, free_port: int
) -> None:
    words = ("up", "--checkpoints", str(models), "--data", str(tmp_path / "d"), "--no-browser")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "up.json").write_text(json.dumps({"port": free_port}))  # of its first start
    with socket.create_server(("127.0.0.1", free_port)):
        moved = start(*words)
        assert int(link_of(moved).group(2)) > free_port
        assert "need the new address" in moved.text
        assert moved.end() == 0
    back = start(*words)
    assert link_of(back).group(2) == str(free_port)
    assert back.end(signal.SIGINT) == 0


def test_a_taken_port_is_said_and_the_next_one_is_remembered(
    start: Callable[..., Any], tmp_path: Path, models: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        words = ("up", "--checkpoints", str(models), "--data", str(tmp_path / "d"), "--no-browser")
        up = start(*words, "--port", str(port))
        link = link_of(up)
        assert f"Port {port} is taken" in up.text
        assert int(link.group(2)) > port
        assert up.end() == 0
    later = start(*words)
    assert link_of(later).group(2) == link.group(2)
    assert later.end(signal.SIGINT) == 0


def test_two_on_different_data_folders_live_beside_each_other(
    start: Callable[..., Any], tmp_path: Path, models: Path, free_port: int
) -> None:
    words = ("up", "--checkpoints", str(models), "--no-browser", "--port", str(free_port))
    first = link_of(start(*words, "--data", str(tmp_path / "one")))
    second = link_of(start(*words, "--data", str(tmp_path / "two")))
    assert first.group(2) != second.group(2)


def test_killed_outright_it_leaves_no_process_behind(
    start: Callable[..., Any], tmp_path: Path, models: Path, free_port: int
) -> None:
    words = ("up", "--checkpoints", str(models), "--data", str(tmp_path / "d"), "--no-browser")
    up = start(*words, "--port", str(free_port))
    link_of(up)
    children = family(up)
    assert len(children) == 2
    up.end(signal.SIGKILL)
    assert gone(children, 20)
    after = start(*words)
    assert link_of(after).group(2) == str(free_port)


def test_a_child_that_dies_is_started_again(
    start: Callable[..., Any], tmp_path: Path, models: Path, free_port: int
) -> None:
    up = start(
        "up",
        "--checkpoints",
        str(models),
        "--data",
        str(tmp_path / "d"),
        "--no-browser",
        "--port",
        str(free_port),
    )
    link_of(up)
    before = {child.pid for child in family(up)}
    for child in family(up):
        child.kill()
    up.wait_for(lambda: len({c.pid for c in family(up) if c.status() != psutil.STATUS_ZOMBIE} - before) == 2)
    assert "restarts in" in up.text
    up.wait_for(lambda: (tmp_path / "d" / "hub.json").exists())


def test_private_files_of_the_settings_file_stay_private(
    start: Callable[..., Any], tmp_path: Path, models: Path, free_port: int
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "stablequeue.toml").write_text('private = ["secret/*"]\n')
    words = ("up", "--checkpoints", str(models), "--data", str(tmp_path / "d"), "--no-browser")
    up = start(*words, "--port", str(free_port), "--private", "mine*")
    link_of(up)
    agent = next(child for child in family(up) if "agent" in child.cmdline())
    assert "--private=mine*" in agent.cmdline()  # the command line comes before the file
    assert up.end() == 0
    up = start(*words, "--port", str(free_port))
    link_of(up)
    agent = next(child for child in family(up) if "agent" in child.cmdline())
    assert "--private=secret/*" in agent.cmdline()


def test_without_folders_it_says_what_to_give_and_starts_nothing(commands: Any, tmp_path: Path) -> None:
    done = commands.run("up", "--data", str(tmp_path / "d"), "--no-browser")
    assert done.code == 2
    assert "--webui DIR" in done.err
    assert not (tmp_path / "d").exists()


def test_where_it_cannot_write_it_says_so(commands: Any, tmp_path: Path, models: Path) -> None:
    (tmp_path / "file").write_text("")
    done = commands.run("up", "--checkpoints", str(models), "--data", str(tmp_path / "file" / "d"), "--json")
    assert done.code == 1
    assert str(tmp_path / "file") in json.loads(done.out)["error"]["message"]
