"""Why a server gets no jobs for a while."""

from __future__ import annotations

from itertools import count

from stablequeue_hub.dispatch.polling_servers import COOLDOWN_S, FAILURES_MAX, PollingServers


class Ticks:
    """Each look at it is a little later, as with a real one."""

    def __init__(self) -> None:
        self._looks = count()

    def monotonic(self) -> float:
        return next(self._looks) / 1000


def servers() -> PollingServers:
    return PollingServers(Ticks())  # type: ignore[arg-type]


def gets_nothing(asking: PollingServers) -> bool:
    state = asking.state("a", works=False)
    return state.in_cooldown or state.yielded


def test_one_that_has_yielded_did_not_fail() -> None:
    asking = servers()
    asking.yield_for("a", 60)
    assert gets_nothing(asking)
    assert asking.has_yielded("a")


def test_one_that_failed_often_still_did_when_it_also_gives_way() -> None:
    asking = servers()
    for _ in range(FAILURES_MAX):
        asking.count("a", failed=True)
    asking.yield_for("a", 60)
    assert gets_nothing(asking)
    assert not asking.has_yielded("a")
    asking.polled_for(asking.of("a"), others=True)
    assert gets_nothing(asking), "letting others in mends no failure"
    assert COOLDOWN_S > 60


def test_letting_others_in_again_ends_the_wait_of_giving_way() -> None:
    asking = servers()
    asking.polled_for(asking.of("a"), others=True)
    asking.yield_for("a", 60)
    asking.polled_for(asking.of("a"), others=True)
    assert gets_nothing(asking), "it asked for all along"
    asking.polled_for(asking.of("a"), others=False)
    assert gets_nothing(asking)
    asking.polled_for(asking.of("a"), others=True)
    assert not gets_nothing(asking)
