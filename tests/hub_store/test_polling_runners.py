"""Why a server gets no jobs for a while."""

from __future__ import annotations

from itertools import count

from stablequeue_hub.dispatch.polling_runners import COOLDOWN_S, FAILURES_MAX, PollingRunners


class Ticks:
    """Each look at it is a little later, as with a real one."""

    def __init__(self) -> None:
        self._looks = count()

    def monotonic(self) -> float:
        return next(self._looks) / 1000


def servers() -> PollingRunners:
    return PollingRunners(Ticks())  # type: ignore[arg-type]


def gets_nothing(runners: PollingRunners) -> bool:
    state = runners.state("a", is_working=False)
    return state.in_cooldown or state.yielded


def test_one_that_has_yielded_did_not_fail() -> None:
    runners = servers()
    runners.yield_for("a", 60)
    assert gets_nothing(runners)
    assert runners.has_yielded("a")


def test_one_that_failed_often_still_did_when_it_also_gives_way() -> None:
    runners = servers()
    runners.get_or_add("a")
    for _ in range(FAILURES_MAX):
        runners.record_run("a", failed=True)
    runners.yield_for("a", 60)
    assert gets_nothing(runners)
    assert not runners.has_yielded("a")
    runners.set_takes_others(runners.get_or_add("a"), others=True)
    assert gets_nothing(runners), "letting others in mends no failure"
    assert COOLDOWN_S > 60


def test_letting_others_in_again_ends_the_wait_of_giving_way() -> None:
    runners = servers()
    runners.set_takes_others(runners.get_or_add("a"), others=True)
    runners.yield_for("a", 60)
    runners.set_takes_others(runners.get_or_add("a"), others=True)
    assert gets_nothing(runners), "it asked for all along"
    runners.set_takes_others(runners.get_or_add("a"), others=False)
    assert gets_nothing(runners)
    runners.set_takes_others(runners.get_or_add("a"), others=True)
    assert not gets_nothing(runners)
