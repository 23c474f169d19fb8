"""Throttles wrong keys and codes per address: after some, it waits longer and longer.

A guess at a 256-bit secret never succeeds; the limit keeps strangers from costing the hub database reads.
Good keys and codes are taken all the same, so that nobody is shut out by a neighbour's mistakes (behind a
reverse proxy all clients share one address).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock

FREE_FAILURES = 10
WAIT_MAX_S = 60.0
FORGET_AFTER_S = 600.0
ADDRESSES_MAX = 10_000


@dataclass
class _Failures:
    count: int = 0
    last_at: float = 0.0
    blocked_until: float = 0.0


class LoginThrottle:
    """Failed authentications of every address."""

    def __init__(self, clock: HubClock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._failures: dict[str, _Failures] = {}

    def wait_s(self, address: str) -> float:
        """Return the seconds this address must wait before its next try; 0 when it may."""
        failures = self._failures.get(_network(address))
        return max(0.0, failures.blocked_until - self._clock.monotonic()) if failures else 0.0

    def record_failure(self, address: str) -> None:
        """Count one more wrong key or code from there."""
        now, key = self._clock.monotonic(), _network(address)
        failures = self._failures.pop(key, None)
        if failures is None or now - failures.last_at > FORGET_AFTER_S:
            failures = _Failures()
        failures.count += 1
        failures.last_at = now
        beyond = failures.count - FREE_FAILURES
        if beyond >= 0:
            failures.blocked_until = now + min(WAIT_MAX_S, 2.0 ** min(beyond, 10))
        self._failures[key] = failures  # at the end: the first one is the longest unheard
        if len(self._failures) > ADDRESSES_MAX:
            del self._failures[next(iter(self._failures))]


def _network(address: str) -> str:
    """An IPv6 host owns a whole /64; everything else counts by itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
