"""``status``: what the agent of a data folder says of itself, and how it stands with the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stablequeue_client.agent.lock import agent_lock
from stablequeue_client.cli import main
from stablequeue_client.index.agent_report import AgentReport, HubProblem
from stablequeue_client.index.index import open_index
from stablequeue_client.shared.errors import (
    ForgottenServerError,
    HubUnreachableError,
    ServerFrozenError,
    StableQueueError,
)
from stablequeue_client.shared.wire.inventory import Activity

from ..agent.scripted_hub import HEALTH, ScriptedHub, say_json


@pytest.fixture
def web_hub() -> Iterator[str]:
    """A hub that answers who it is."""
    with ScriptedHub(lambda _: say_json(HEALTH)) as hub:
        yield hub.url


@pytest.mark.parametrize(
    ("problem", "words", "code"),
    [
        (ServerFrozenError("Two running copies use this identity."), "Only one runs now: resume", 5),
        (ForgottenServerError("The hub has forgotten this server."), "forgotten", 5),
        (HubUnreachableError("Its certificate is not trusted."), "certificate is not trusted", 4),
        (None, "Hub: connected", 0),
    ],
    ids=["frozen", "forgotten", "certificate", "well"],
)
def test_status_says_what_keeps_the_running_agent_from_its_hub(
    tmp_path: Path,
    web_hub: str,
    capsys: pytest.CaptureFixture[str],
    problem: StableQueueError | None,
    words: str,
    code: int,
) -> None:
    told = HubProblem(problem.code, problem.message, problem.remedy, 1_700_000_000_000) if problem else None
    with closing(open_index(tmp_path)) as index, agent_lock(tmp_path):
        index.write_agent_report(AgentReport(pid=1, started_ms=1, hub_problem=told))
        index.write_progress(Activity(phase="idle"))
        status = main(["status", "--data", str(tmp_path), "--hub", web_hub])
    assert status == code
    assert words in capsys.readouterr().out


def test_status_of_a_hub_that_does_not_answer_fails(
    tmp_path: Path, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "--data", str(tmp_path), "--hub", f"http://127.0.0.1:{free_port}"]
    assert main(words) == 4
    assert str(free_port) in capsys.readouterr().out
    assert main(["status", "--data", str(tmp_path)]) == 0


def test_status_says_until_when_reading_is_paused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_index(tmp_path)) as index, agent_lock(tmp_path):
        paused = AgentReport(pid=1, started_ms=1, waits_for="order", paused_until_ms=1_700_000_000_000)
        index.write_agent_report(paused)
        index.write_progress(Activity(phase="paused", files_total=9, files_done=2))
        assert main(["status", "--data", str(tmp_path)]) == 0
        assert "paused until 2023-11-1" in capsys.readouterr().out
        index.write_agent_report(AgentReport(pid=1, started_ms=1, waits_for="generating"))
        assert main(["status", "--data", str(tmp_path)]) == 0
        assert "waits for the WebUI to finish its pictures, 7 files left" in capsys.readouterr().out
