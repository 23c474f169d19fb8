"""What is said beside the Queue button while jobs are kept in this WebUI."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stablequeue_client.hub_client.view_cache import HubState
from stablequeue_client.own_hub import OwnHubStatus
from stablequeue_client.shared.errors import HubUnreachableError, NotFoundError
from stablequeue_client.shared.views import job_values as jv
from stablequeue_client.webui.submit.outbox import SubmissionOutbox
from stablequeue_client.webui.submit.sender import SentJob
from stablequeue_client.webui.submit.status_line import StatusLine
from stablequeue_client.webui.submit.submission import Submission, SubmissionChoices

KEYS = ["a" * 32, "b" * 32, "c" * 32]


class Here:
    """As far as the line asks a ``Runtime``."""

    def __init__(self, folder: Path, kept: int, phase: Any = "none") -> None:
        jobs = SubmissionOutbox(folder)
        self.jobs = [jobs.keep(key, {"payload": {}}) for key in KEYS[:kept]]
        presses = {key: Submission(key, "txt2img", SubmissionChoices(), 0.0, "kept") for key in KEYS}
        self.queueing = SimpleNamespace(
            kept=jobs,
            submission=presses.get,
            timed_out=lambda press: False,
            sender=SimpleNamespace(sent=lambda key: None, problem=lambda: None),
        )
        self.hub = SimpleNamespace(state=lambda: HubState("none"))
        self.own_hub = SimpleNamespace(status=lambda: OwnHubStatus(phase))

    def asked(self, press: str) -> dict[str, Any]:
        return StatusLine(self, self.queueing).line("txt2img", press)  # type: ignore[arg-type]

    def line(self, press: str) -> str:
        html = self.asked(press)["html"]
        return " ".join(re.sub(r"<(?!button)[^>]+>", " ", html).split())


@pytest.mark.parametrize(
    ("kept", "press", "said"),
    [
        (1, KEYS[0], "It is kept here until"),
        (2, KEYS[0], "It and 1 earlier job are kept here until"),
        (3, KEYS[0], "It and 2 earlier jobs are kept here until"),
        (2, "", "2 jobs kept here until"),
    ],
)
def test_all_that_waits_is_said_in_one_sentence_with_one_button(
    tmp_path: Path, kept: int, press: str, said: str
) -> None:
    line = Here(tmp_path, kept).line(press)
    assert said in line
    assert line.count("kept here") == line.count("<button") == 1


def test_a_hub_that_sending_did_not_reach_is_away_whatever_was_heard_of_it_before(tmp_path: Path) -> None:
    here = Here(tmp_path, 1)
    here.hub.state = lambda: HubState("connected")
    assert "on the way to the hub" in here.line(KEYS[0])
    here.queueing.sender.problem = HubUnreachableError
    assert "It is kept here until the hub answers." in here.line(KEYS[0])


def test_a_refused_one_is_told_apart_from_those_that_wait(tmp_path: Path) -> None:
    here = Here(tmp_path, 3)
    here.queueing.kept.refuse(here.jobs[1], "No such sampler.")
    line = here.line(KEYS[0])
    assert "It and 1 earlier job are kept here" in line
    assert "An earlier job was refused: No such sampler." in line


@pytest.mark.parametrize(
    ("state", "row", "said", "goes_on"),
    [
        (
            "pending",
            {"waiting": "Next in line on attic", "in_line": True},
            "Queued. Next in line on attic.",
            True,
        ),
        (
            "pending",
            {"waiting": "Waits for ink: no server has it"},
            "Queued. Waits for ink: no server has it.",
            True,
        ),
        ("processing", {"server": "attic", "progress": 0.428}, "Being made on attic, 42 %.", True),
        ("completed", {"server": "attic", "outcome": "confirmed"}, "Done on attic.", False),
        (
            "failed",
            {"server": "attic", "failure": "Out of memory."},
            "Failed on attic: Out of memory.",
            False,
        ),
        ("failed", {"outcome": "wrong", "server": "attic"}, "Wrong models on attic.", False),
        ("cancelled", {}, "Cancelled.", False),
    ],
)
def test_the_line_follows_the_job_until_it_ends(
    tmp_path: Path, state: Any, row: dict[str, Any], said: str, goes_on: bool
) -> None:
    here = Here(tmp_path, 0)
    here.queueing.sender.sent = lambda key: SentJob("job-1", 1, possible=False)
    shown = {"job-1": jv.JobDetails(jv.JobRow("job-1", "a cat", state, 1, "forge", **row), jv.JobFields())}
    here.hub.cached_view = lambda name, ident: shown.get(ident)

    def deleted(*_: str) -> Any:
        raise NotFoundError("It is gone.")

    assert said in here.line(KEYS[0])
    assert here.asked(KEYS[0])["later"] is goes_on
    here.queueing.sender.sent = lambda key: SentJob("job-1", 3, possible=False)
    assert here.line(KEYS[0]).startswith(("! 3 jobs queued.", "✓ 3 jobs queued.", "i 3 jobs queued.", "✗ 3"))
    here.hub.cached_view = deleted
    assert "The job was deleted." in here.line(KEYS[0])
    here.hub.cached_view = lambda name, ident: None
    assert "3 jobs queued. No server can make it now." in here.line(KEYS[0])


@pytest.mark.parametrize("phase", ["building", "starting"])
def test_while_the_hub_of_this_computer_is_set_up_it_is_not_offered_again(tmp_path: Path, phase: str) -> None:
    line = Here(tmp_path, 1, phase).line(KEYS[0])
    assert "It is kept here until the hub of this computer is set up." in line
    assert "<button" not in line
