"""A silent runner loses its job after one term. A hub that stood still takes none away."""

from __future__ import annotations

from stablequeue_client.shared.wire.runner import LEASE_S
from stablequeue_hub.dispatch.leases import STALL_S, Leases


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return 0


def leases_of(*job_ids: str) -> tuple[Leases, Time]:
    time = Time()
    leases = Leases(time)
    for number, job_id in enumerate(job_ids):
        leases.grant(job_id, f"server {number}", 1, "runner")
    return leases, time


def after(leases: Leases, time: Time, seconds: float, alive: tuple[str, ...] = ()) -> list[str]:
    """Who is lost on the way, looking every five seconds as the hub does."""
    lost: list[str] = []
    until = time.seconds + seconds
    while time.seconds < until:
        time.seconds += 5.0
        for job_id in alive:
            assert leases.renew(job_id, 1)
        for lease in leases.expired():
            lost.append(lease.job_id)
            leases.end(lease.job_id)
    return lost


def test_without_a_sign_of_life_for_a_whole_term_it_is_lost() -> None:
    leases, time = leases_of("one", "two")
    assert after(leases, time, LEASE_S - 5, alive=("two",)) == []
    assert after(leases, time, 10, alive=("two",)) == ["one"]
    assert not leases.renew("one", 1)


def test_an_old_fence_renews_nothing() -> None:
    leases, _ = leases_of("one")
    leases.grant("one", "other server", 2, "runner")
    assert not leases.renew("one", 1)
    leases.end("one", 1)
    assert leases.renew("one", 2, 0.5)
    assert leases.progress("one") == 0.5


def test_a_hub_that_stood_still_gives_everybody_another_term() -> None:
    leases, time = leases_of("one", "two")
    leases.expired()
    time.seconds += max(STALL_S, LEASE_S) * 20
    assert leases.expired() == []
    assert after(leases, time, LEASE_S - 5) == []
    assert sorted(after(leases, time, 10)) == ["one", "two"]


def test_when_most_are_lost_at_once_the_hub_doubts_itself_first() -> None:
    leases, time = leases_of(*"abcde")
    assert after(leases, time, LEASE_S + 10, alive=("a", "b")) == []
    assert sorted(after(leases, time, LEASE_S, alive=("a", "b"))) == ["c", "d", "e"]


def test_fewer_than_most_are_lost_as_they_are() -> None:
    leases, time = leases_of(*"abcde")
    assert sorted(after(leases, time, LEASE_S + 10, alive=("a", "b", "c"))) == ["d", "e"]
