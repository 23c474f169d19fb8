"""The page's session: a cookie whose token is stored as SHA256, opened by a one-time code or a key.

A one-time code lives in memory for 60 seconds and dies with its first use; the session it opens is its
owner's (admin). A session opened with a key has that key's scope and ends when the key is revoked. Sessions
end after 30 days without use.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import BusyError, ForbiddenError
from stablequeue_hub.access.keys import CACHE_S, Principal
from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock
from stablequeue_hub.errors import CodeError
from stablequeue_hub.store.tables import keys, page_sessions

CODE_TTL_S = 60.0
CODES_MAX = 100
IDLE_MS = 30 * 24 * 3_600_000
EXTEND_EVERY_MS = 3_600_000
SESSION_SCOPES = ("admin", "jobs", "view")


def cookie_name(port: int) -> str:
    """Cookies ignore ports, and two hubs may run on one machine."""
    return f"sq_session_{port}"


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class OneTimeCodes:
    """One-time codes, in memory only."""

    def __init__(self, clock: HubClock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._codes: dict[str, float] = {}

    def create(self) -> str:
        """A new code. Raises BusyError when too many wait to be used."""
        self.drop_expired()
        if len(self._codes) >= CODES_MAX:
            raise BusyError("There are too many unused one-time codes.")
        code = secrets.token_urlsafe(32)
        self._codes[token_hash(code)] = self._clock.monotonic() + CODE_TTL_S
        return code

    def use(self, code: str) -> None:
        """Use it up. Raises CodeError."""
        expires = self._codes.pop(token_hash(code), None)
        if expires is None or expires <= self._clock.monotonic():
            raise CodeError

    def drop_expired(self) -> None:
        now = self._clock.monotonic()
        self._codes = {code: expires for code, expires in self._codes.items() if expires > now}


def open_session(connection: Connection, opener: Principal | None, *, now_ms: int) -> str:
    """The cookie's token. ``opener`` None: the owner, by a one-time code. Raises ForbiddenError for a key
    that may not look (join keys, servers' own keys)."""
    if opener is not None and opener.scope not in SESSION_SCOPES:
        raise ForbiddenError("This key cannot be used to sign in.", remedy="Use an admin or view key.")
    token = secrets.token_urlsafe(32)
    connection.execute(
        page_sessions.insert().values(
            token_hash=token_hash(token),
            created_ms=now_ms,
            expires_ms=now_ms + IDLE_MS,
            key_id=opener.key_id if opener else None,
        )
    )
    return token


def close_session(connection: Connection, token: str) -> None:
    connection.execute(page_sessions.delete().where(page_sessions.c.token_hash == token_hash(token)))


def delete_expired(connection: Connection, now_ms: int) -> None:
    connection.execute(page_sessions.delete().where(page_sessions.c.expires_ms <= now_ms))


@dataclass(frozen=True)
class _StoredSession:
    principal: Principal
    expires_ms: int
    fetched_at: float


class SessionCache:
    """Sessions as they are checked on every request, remembered for a few seconds."""

    def __init__(self, clock: HubClock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._sessions: dict[str, _StoredSession] = {}
        self._extend: dict[str, int] = {}

    def is_fresh(self, token: str) -> bool:
        stored = self._sessions.get(token_hash(token))
        return stored is not None and self._clock.monotonic() - stored.fetched_at <= CACHE_S

    def refresh(self, connection: Connection, token: str) -> None:
        """Read the session again, and the key it was opened with."""
        hashed = token_hash(token)
        row = connection.execute(
            sa.select(
                page_sessions, keys.c.scope, keys.c.revoked_ms, keys.c.expires_ms.label("key_expires_ms")
            )
            .join(keys, keys.c.key_id == page_sessions.c.key_id, isouter=True)
            .where(page_sessions.c.token_hash == hashed)
        ).first()
        self._sessions.pop(hashed, None)
        if row is None or (row.key_id is not None and (row.scope is None or row.revoked_ms is not None)):
            return
        expires_ms = min(row.expires_ms, row.key_expires_ms or row.expires_ms)
        principal = Principal("page", row.scope or "admin", row.key_id)
        self._sessions[hashed] = _StoredSession(principal, expires_ms, self._clock.monotonic())

    def check(self, token: str) -> Principal | None:
        """Return the session's principal; None when it is unknown or over."""
        hashed = token_hash(token)
        stored = self._sessions.get(hashed)
        now_ms = self._clock.now_ms()
        if stored is None or stored.expires_ms <= now_ms:
            return None
        if now_ms + IDLE_MS - stored.expires_ms > EXTEND_EVERY_MS:
            self._extend[hashed] = now_ms + IDLE_MS
        return stored.principal

    def drop(self, token: str) -> None:
        self._sessions.pop(token_hash(token), None)

    def drop_all(self) -> None:
        """A key was revoked: every session is read again."""
        self._sessions.clear()

    def drop_stale(self) -> None:
        """Forget what has not been asked for lately."""
        now = self._clock.monotonic()
        self._sessions = {t: s for t, s in self._sessions.items() if now - s.fetched_at <= CACHE_S}

    def pop_extended(self) -> dict[str, int]:
        """Sessions in use and their new end, since the last call; for the flush."""
        extended, self._extend = self._extend, {}
        return extended


def flush_extended(connection: Connection, extended: dict[str, int]) -> None:
    for hashed, expires_ms in sorted(extended.items()):
        connection.execute(
            page_sessions.update().where(page_sessions.c.token_hash == hashed).values(expires_ms=expires_ms)
        )
