"""When a hub that died is started again."""

from __future__ import annotations

from stablequeue_client.own_hub.restarts import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    MOST_TRIES,
    STABLE_AFTER_S,
    Liveness,
    Restarts,
)


class Watched:
    """Looks once a second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.restarts = Restarts(lambda: self.now)

    def starts(self, liveness: Liveness, seconds: float) -> list[float]:
        """When it was started while it was so, counted from now."""
        began, found = self.now, []
        while self.now - began < seconds:
            if self.restarts.is_due(liveness):
                found.append(self.now - began)
            self.now += 1.0
        return found


def test_the_waits_grow_and_end() -> None:
    watched = Watched()
    starts = watched.starts("down", 100_000)
    assert len(starts) == MOST_TRIES
    waits = [after - before for before, after in zip([-1.0, *starts], starts, strict=False)]
    assert waits[0] <= FIRST_WAIT_S + 1
    assert waits == sorted(waits)
    assert waits[-1] <= LONGEST_WAIT_S + 1
    assert watched.restarts.gave_up


def test_one_that_dies_soon_after_each_start_is_not_started_for_ever() -> None:
    watched = Watched()
    for _ in range(100):
        watched.starts("busy", 10)
        watched.starts("up", 30)
        watched.starts("down", 400)
    assert watched.restarts.gave_up


def test_one_that_had_lived_for_long_has_its_tries_anew() -> None:
    watched = Watched()
    watched.starts("down", 100_000)
    watched.starts("up", STABLE_AFTER_S + 2)
    assert not watched.restarts.gave_up
    assert watched.starts("down", FIRST_WAIT_S + 2)[0] <= FIRST_WAIT_S + 1


def test_one_that_is_not_to_run_or_is_being_started_is_left_alone() -> None:
    watched = Watched()
    assert watched.starts("off", 1_000) + watched.starts("busy", 1_000) == []
