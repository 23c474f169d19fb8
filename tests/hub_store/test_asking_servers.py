"""Why a server gets no jobs for a while."""

from __future__ import annotations

from itertools import count

from stablequeue_hub.dispatch.polling_servers import COOLING_S, FAILURES_MAX, AskingServers


class Ticks:
    """Each look at it is a little later, as with a real one."""

    def __init__(self) -> None:
        self._looks = count()

    def monotonic(self) -> float:
        return next(self._looks) / 1000


def servers() -> AskingServers:
    return AskingServers(Ticks())  # type: ignore[arg-type]


def test_one_that_gave_way_did_not_fail() -> None:
    asking = servers()
    asking.give_way("a", 60)
    assert asking.cools("a")
    assert asking.gave_way("a")


def test_one_that_failed_often_still_did_when_it_also_gives_way() -> None:
    asking = servers()
    for _ in range(FAILURES_MAX):
        asking.count("a", failed=True)
    asking.give_way("a", 60)
    assert asking.cools("a")
    assert not asking.gave_way("a")
    asking.asked_for(asking.of("a"), others=True)
    assert asking.cools("a"), "letting others in mends no failure"
    assert COOLING_S > 60


def test_letting_others_in_again_ends_the_wait_of_giving_way() -> None:
    asking = servers()
    asking.asked_for(asking.of("a"), others=True)
    asking.give_way("a", 60)
    asking.asked_for(asking.of("a"), others=True)
    assert asking.cools("a"), "it asked for all along"
    asking.asked_for(asking.of("a"), others=False)
    assert asking.cools("a")
    asking.asked_for(asking.of("a"), others=True)
    assert not asking.cools("a")
