"""The states of a job and what leads from one to another. Pure.

A job is ``pending`` until a server takes it (``processing``), and ends ``completed``, ``failed`` or
``cancelled``. What a pending job waits for is never stored: it is derived when read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Literal, get_args

from stablequeue_hub.errors import JobStateError

JobState = Literal["pending", "processing", "completed", "failed", "cancelled"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
ENDED: frozenset[JobState] = frozenset({"completed", "failed", "cancelled"})
SeedRule = Literal["same", "random", "increment"]

_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    "pending": frozenset({"processing", "failed", "cancelled"}),
    "processing": frozenset({"pending", "completed", "failed", "cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
PRIORITY_MIN, PRIORITY_MAX = -10, 10
COUNT_MAX = 1_000
SEED_MAX = 2**63 - 1
"""The largest that both databases keep. WebUIs take 64 bits, and other programs write such seeds."""
_CHOSEN_SEEDS = 2**32
"""One of so many is chosen for "any", as in the WebUIs."""
_IS: dict[JobState, str] = {
    "pending": "waits",
    "processing": "is being made",
    "completed": "is done",
    "failed": "has failed",
    "cancelled": "is cancelled",
}
_BECOMES: dict[JobState, str] = {
    "pending": "wait again",
    "processing": "be given to a server",
    "completed": "be finished",
    "failed": "fail",
    "cancelled": "be cancelled any more",
}


def check_transition(before: JobState, after: JobState, *, outcome: str | None = None) -> None:
    """Raises JobStateError unless a job may go from one to the other: the first end stands.

    Except that a person may accept a picture that was found ``wrong``; only who asks for that says its
    ``outcome``.
    """
    accepts = (before, after, outcome) == ("failed", "completed", "wrong")
    if after not in _TRANSITIONS[before] and not accepts:
        if before == after:
            raise JobStateError(f"The job {_IS[before]} already.")
        raise JobStateError(f"The job {_IS[before]}, so it cannot {_BECOMES[after]}.")


def chosen_seed() -> int:
    """A seed for who wants any."""
    return secrets.randbelow(_CHOSEN_SEEDS)


def seeds(first: int, count: int, rule: SeedRule) -> Iterator[int]:
    """The seed of each of ``count`` jobs. A negative ``first`` (the WebUI's "any") is chosen here once."""
    start = first if first >= 0 else chosen_seed()
    for number in range(count):
        if rule == "random" and number:
            yield chosen_seed()
        else:
            yield (start + number) % (SEED_MAX + 1) if rule == "increment" else start
