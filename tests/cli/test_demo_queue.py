"""The queue of ``up --demo`` lives: jobs run, wait with reasons, are done with pictures, and one is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stablequeue_client.commands.demo_queue import JOBS, drawn
from stablequeue_client.shared.generation.image_text import generation_text
from stablequeue_client.shared.generation.infotext import parse_infotext
from stablequeue_client.shared.wire.runner import AssignedFile

from ..running_demo import Demo, running_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


def test_jobs_run_wait_with_reasons_are_done_and_one_is_wrong(demo: Demo) -> None:
    end = time.monotonic() + 150
    seen: set[str] = set()
    while not {"running", "done", "wrong", "waits"} <= seen:
        assert time.monotonic() < end, seen
        time.sleep(0.5)
        try:
            jobs = demo.ask("GET", "/api/v1/jobs?limit=100")["jobs"]
        except OSError:
            continue  # the hub is being started
        assert all(job["outcome"] != "wrong" or job["name"] == "A job that went wrong" for job in jobs)
        done = [job for job in jobs if job["outcome"] == "confirmed"]
        seen |= {"running"} if any(job["state"] == "processing" for job in jobs) else set()
        seen |= {"wrong"} if any(job["outcome"] == "wrong" for job in jobs) else set()
        seen |= {"done"} if done else set()
        seen |= {"waits"} if sum(job["state"] == "pending" for job in jobs) >= 3 else set()
    assert demo.ask("GET", f"/api/v1/jobs/{done[0]['job_id']}/pictures/0").startswith(b"\x89PNG")
    reasons = {
        job["name"]: demo.ask("GET", f"/api/v1/jobs/{job['job_id']}/why")["waiting_for"]
        for job in jobs
        if job["name"]
    }
    assert "several models have this name" in reasons["Which of the two?"]
    assert "origami_XL" in reasons["Lacks a LoRA"]


def test_the_first_screen_is_the_table_and_one_server_is_off(demo: Demo) -> None:
    """The page is shown when the files are read; the third computer has been switched off by then."""
    end = time.monotonic() + 120
    while True:
        assert time.monotonic() < end
        servers = {server["alias"]: server for server in demo.ask("GET", "/api/v1/servers")}
        if len(servers) == 3 and not servers["classic"]["reachable"]:
            break
        time.sleep(1)
    assert servers["forge-a"]["reachable"]
    assert servers["forge-b"]["reachable"]
    assert all(server["files"].get("ready") for server in servers.values())


@pytest.mark.parametrize("wrong", [False, True])
def test_a_picture_says_what_a_webui_writes(wrong: bool, tmp_path: Path) -> None:
    file = AssignedFile(0, "checkpoint", "a", "a.safetensors", "r", "a.safetensors", "ab" * 32, 5)
    text = generation_text(drawn(JOBS[0]["payload"] | {"seed": 7}, [file], wrong=wrong))
    settings = parse_infotext(text or "").settings
    assert settings["Model"] == "a"
    assert settings["Seed"] == "7"
    assert (settings["Model hash"] == "ab" * 5) is not wrong
