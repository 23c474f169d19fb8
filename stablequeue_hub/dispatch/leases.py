"""The leases of running jobs: which runner has which job, and until when. In memory; pure but for the clock.

Time is the monotonic clock's. Two things look like many dead runners and are none: this process stood still
(then nobody could renew), and a network that is gone (then most are lost at once). Both give everybody
another term before a job is taken from a runner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stablequeue_client.shared.wire.runner import LEASE_S, RENEW_S
from stablequeue_hub.clock import HubClock

STALL_S = 20.0
"""Looks are a few seconds apart; this long between two means that this process stood still."""
MASS_LOSS_MIN = 3
MASS_LOSS_SHARE = 0.55


@dataclass
class Lease:
    """A job in a runner's hands; ``until`` on the monotonic clock. ``sequence``: of the inventory by which it
    was handed over; None when that was before the hub started."""

    job_id: str
    server_id: str
    fence: int
    runner_id: str
    until: float
    progress: float | None = None
    sequence: int | None = None


class Leases:
    """All jobs that are being worked on. Call ``expired`` every few seconds."""

    def __init__(self, clock: HubClock) -> None:
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._checked_at: float | None = None
        self._grace_until = -1.0

    def grant(
        self, job_id: str, server_id: str, fence: int, runner_id: str, sequence: int | None = None
    ) -> None:
        """Grant a lease for one whole term."""
        until = self._clock.monotonic() + LEASE_S
        self._leases[job_id] = Lease(job_id, server_id, fence, runner_id, until, sequence=sequence)

    def all(self) -> list[Lease]:
        return list(self._leases.values())

    def find(self, job_id: str) -> Lease | None:
        return self._leases.get(job_id)

    def renew(self, job_id: str, fence: int, progress: float | None = None) -> bool:
        """Extend the lease by a whole term; False when it is not that runner's job any more."""
        lease = self._leases.get(job_id)
        if lease is None or lease.fence != fence:
            return False
        lease.until = self._clock.monotonic() + LEASE_S
        if progress is not None:
            lease.progress = min(1.0, max(0.0, progress))
        return True

    def end(self, job_id: str, fence: int | None = None) -> None:
        """End the lease; with ``fence`` only if it is still of that claim."""
        lease = self._leases.get(job_id)
        if lease is not None and fence in (None, lease.fence):
            del self._leases[job_id]

    def of_server(self, server_id: str) -> Lease | None:
        return next((lease for lease in self.all() if lease.server_id == server_id), None)

    def progress(self, job_id: str) -> float | None:
        """0 to 1; None when nobody works on it, or did not say."""
        lease = self._leases.get(job_id)
        return lease.progress if lease else None

    def missed_renewals(self, lease: Lease) -> bool:
        """Return whether two renewals in a row did not come."""
        return lease.until - self._clock.monotonic() <= LEASE_S - 2 * RENEW_S

    def expired(self) -> list[Lease]:
        """Return the leases not renewed for a whole term; they stay until ``end``."""
        now = self._clock.monotonic()
        checked_at, self._checked_at = self._checked_at, now
        if checked_at is not None and now - checked_at > STALL_S:
            self._extend(self._leases.values(), now)
            return []
        lost = [lease for lease in self._leases.values() if lease.until <= now]
        many = len(lost) >= MASS_LOSS_MIN and len(lost) >= MASS_LOSS_SHARE * len(self._leases)
        if many and now >= self._grace_until:
            self._grace_until = now + 2 * LEASE_S
            self._extend(lost, now)
            return []
        return lost

    def _extend(self, leases: Iterable[Lease], now: float) -> None:
        for lease in leases:
            lease.until = max(lease.until, now + LEASE_S)
