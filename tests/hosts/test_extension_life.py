"""The extension's life in a WebUI: start, Reload UI, a broken Python, the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest
import requests

from ..slowness import slowness
from .running_host import FakeHost, StartHost

RELOADS = 50
START_LIMIT_S = 0.05
"""What our script and our callback before the page may cost the WebUI's own threads."""


def ours(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if "stablequeue" in name)


def wait_until(true: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.05)


def agents(host: FakeHost) -> list[psutil.Process]:
    """Our processes that name this host's own StableQueue folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if "stablequeue_client" in words and str(host.stablequeue) in words + (process.info["cwd"] or ""):
            found.append(process)
    return found


@pytest.fixture
def own_host(family: str, start_host: StartHost, tmp_path: Path) -> FakeHost:
    return start_host(family, tmp_path / "webui")


def test_fifty_times_reload_ui_leaves_the_same_threads_processes_descriptors_and_routes(
    own_host: FakeHost,
) -> None:
    wait_until(lambda: bool(agents(own_host)), 90, "the agent")
    for _ in range(3):  # Gradio and anyio settle
        first = own_host.reload()
    agents_then = [process.pid for process in agents(own_host)]
    for _ in range(RELOADS):
        last = own_host.reload()
    assert ours(last["threads"]) == ours(first["threads"])
    assert len(last["threads"]) <= len(first["threads"]) + 2
    assert [route for route in last["routes"] if "stablequeue" in route] == [
        route for route in first["routes"] if "stablequeue" in route
    ]
    assert len(last["routes"]) == len(first["routes"])
    assert last["descriptors"] <= first["descriptors"] + 3
    assert [process.pid for process in agents(own_host)] == agents_then
    assert len(agents_then) == 1


def test_a_start_costs_the_webui_s_own_threads_at_most_fifty_milliseconds(host: FakeHost) -> None:
    """CPU time of our script and all our callbacks until the page answers."""
    by_file = {name: cost for name, cost in host.counts()["main_seconds"].items() if "stablequeue" in name}
    assert any(name.endswith(":ui_tabs") for name in by_file)
    assert 0 < sum(by_file.values()) <= START_LIMIT_S * slowness(), by_file


WAITED = """
import threading, time
from concurrent.futures import Future
from modules import script_callbacks
from stablequeue_client.webui.shell import loading
kept = {name: list(given) for name, given in script_callbacks.callback_map.items()}
begun = time.perf_counter()
loading._before_ui(Future())
loading._tabs(Future())
result = time.perf_counter() - begun
for name, given in kept.items():
    script_callbacks.callback_map[name][:] = given
"""


def test_before_the_page_is_built_nothing_waits_for_our_parts_to_be_loaded(host: FakeHost) -> None:
    took: list[float] = []
    for _ in range(10):
        took.append(host.run(WAITED) / slowness())
        if took[-1] < START_LIMIT_S:
            return
    pytest.fail(f"never within {START_LIMIT_S} s: {took}")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL] if os.name != "nt" else [signal.SIGTERM])
def test_no_agent_outlives_the_webui(own_host: FakeHost, end: signal.Signals) -> None:
    wait_until(lambda: bool(agents(own_host)), 90, "the agent")
    left = agents(own_host)
    own_host.process.send_signal(end)
    own_host.process.wait(15)
    _, alive = psutil.wait_procs(left, timeout=20)
    assert alive == []


def test_nothing_of_ours_is_written_under_the_webui_s_folder(own_host: FakeHost) -> None:
    wait_until(lambda: any(own_host.stablequeue.rglob("index.sqlite")), 90, "the index")
    inside = [str(path) for path in own_host.data.rglob("*") if "stablequeue" in path.name.lower()]
    assert [path for path in inside if not path.endswith("extensions/stablequeue")] == []


MODES = {
    "a missing package": "raise ModuleNotFoundError(\"No module named 'msgspec'\", name='msgspec')",
    "a broken package": "raise ImportError('undefined symbol: PyFoo', name='msgspec')",
}


@pytest.mark.parametrize("mode", MODES)
def test_a_webui_starts_with_one_sentence_when_a_requirement_is_broken(
    family: str, start_host: StartHost, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "broken" / "msgspec").mkdir(parents=True)
    (tmp_path / "broken" / "msgspec" / "__init__.py").write_text(MODES[mode])
    host = start_host(
        family, tmp_path / "webui", "--no-install", environment={"PYTHONPATH": str(tmp_path / "broken")}
    )
    said = host.tab()
    assert "StableQueue does not run: msgspec cannot be loaded" in said
    assert "pip install --force-reinstall --no-deps msgspec" in said
    assert "Generate" in requests.get(host.url + "/config", timeout=30).text
    assert ours(host.counts()["threads"]) == []
