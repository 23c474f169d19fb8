"""What is said when a job cannot go from one state to another."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from stablequeue_hub.errors import JobStateError
from stablequeue_hub.jobs.states import JobState, check_transition


def test_a_state_that_it_is_in_is_said_as_such() -> None:
    with pytest.raises(JobStateError, match=r"^The job is cancelled already\."):
        check_transition("cancelled", "cancelled")
    with pytest.raises(JobStateError, match=r"^The job is done, so it cannot be cancelled any more\."):
        check_transition("completed", "cancelled")


def said(before: JobState, after: JobState) -> str:
    try:
        check_transition(before, after)
    except JobStateError as error:
        return error.message
    return ""


def test_no_refusal_shows_a_name_of_the_database() -> None:
    states = get_args(JobState)
    words = [said(before, after) for before in states for after in states]
    assert sum(map(bool, words)) > 10
    assert [one for one in words if re.search("pending|processing|completed|become", one)] == []
