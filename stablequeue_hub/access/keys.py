"""Keys: ``sq_<id>_<secret>``, the secret 256 bits as 64 hex digits, stored as its SHA256, shown once.

Scopes: ``admin`` may do everything; ``jobs`` and ``view`` read (``jobs`` will submit jobs); ``join`` makes a
server known; ``server`` is a server's own key (its id is the server's): it reads, and writes its inventory,
its capabilities and the metadata the hub asked it for. Keys are also made and revoked by another process
(``stablequeue keys``), so what is remembered of them here is at most ``CACHE_S`` old.

Clients of the old StableQueue have a pair, ``mk_<24 hex digits>`` and a secret of 128 bits as 32 hex digits;
``create_pair`` makes one with the scope ``jobs``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from stablequeue_client.shared.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidValueError,
    NotFoundError,
)
from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock
from stablequeue_hub.events import events
from stablequeue_hub.store.tables import keys, servers

Scope = Literal["admin", "jobs", "view", "join", "server"]
CREATED_SCOPES: tuple[str, ...] = tuple(scope for scope in get_args(Scope) if scope != "server")
CACHE_S = 4.0
JOIN_CODE_TTL_MS = 3_600_000
NAME_MAX = 100

_KEY = re.compile(r"sq_([A-Za-z0-9-]{1,64})_([0-9a-f]{64})")
_KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_SECRET = re.compile(r"[0-9a-f]{64}\Z")
_PAIR_ID = re.compile(r"mk_[0-9a-f]{24}\Z")
_PAIR_SECRET = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True)
class Principal:
    """Who asks: a key, the page's session, or anybody where the owner opened the old paths (``open``).

    ``server_id`` is set for a server's own key.
    """

    kind: Literal["key", "page", "open"]
    scope: Scope
    key_id: str | None = None
    server_id: str | None = None

    @property
    def actor(self) -> str:
        """The name that events carry. A page that was opened with a key of less than an admin is that key's:
        all owners' pages are one, and what is theirs is not for everybody who may submit."""
        if self.server_id:
            return f"server:{self.server_id}"
        of_key = self.kind == "key" or (self.kind == "page" and self.scope != "admin")
        return f"key:{self.key_id}" if of_key else self.kind


@dataclass(frozen=True)
class Credentials:
    """A key as it was given: its id and the SHA256 of its secret in hex. The secret itself is not kept."""

    key_id: str
    secret_hash: str


@dataclass(frozen=True)
class CreatedKey:
    """A key just made. ``key`` is shown this once."""

    key_id: str
    key: str
    scope: str
    name: str
    created_ms: int
    expires_ms: int | None


@dataclass(frozen=True)
class CreatedKeyPair:
    """A pair for an old client, just made. ``bearer``: both in one, for an Authorization header."""

    key_id: str
    key: str
    secret: str
    bearer: str
    scope: str
    name: str
    created_ms: int


@dataclass(frozen=True)
class KeyInfo:
    """A key without its secret. ``server`` is the alias of the server it belongs to."""

    key_id: str
    scope: str
    name: str
    server_id: str | None
    server: str | None
    created_ms: int
    expires_ms: int | None
    last_used_ms: int | None
    revoked_ms: int | None
    single_server: bool


@dataclass
class _StoredKey:
    secret_hash: str
    principal: Principal
    expires_ms: int | None
    fetched_at: float


# --- what people do with keys ---------------------------------------------------------------------------


def create_key(
    connection: Connection,
    scope: str,
    *,
    name: str = "",
    actor: str,
    now_ms: int,
    expires_ms: int | None = None,
    single_server: bool = False,
) -> CreatedKey:
    """A new key of ``scope`` (not ``server``). Raises InvalidValueError for another scope or a bad name."""
    if scope not in CREATED_SCOPES:
        raise InvalidValueError(
            f"{scope!r} is not a scope.", remedy=f"Choose one of {', '.join(CREATED_SCOPES)}."
        )
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    more = {"expires_ms": expires_ms, "single_server": int(single_server)}
    _insert_key(connection, key_id, secret, scope, name, actor, now_ms, **more)
    return CreatedKey(key_id, f"sq_{key_id}_{secret}", scope, name, now_ms, expires_ms)


def create_pair(connection: Connection, *, name: str = "", actor: str, now_ms: int) -> CreatedKeyPair:
    """A key for an old client, which submits jobs. Raises InvalidValueError for a bad name."""
    key_id, secret = f"mk_{secrets.token_hex(12)}", secrets.token_hex(16)
    _insert_key(connection, key_id, secret, "jobs", name, actor, now_ms)
    bearer = base64.b64encode(f"{key_id}:{secret}".encode("ascii")).decode("ascii")
    return CreatedKeyPair(key_id, key_id, secret, bearer, "jobs", name, now_ms)


def _insert_key(
    connection: Connection,
    key_id: str,
    secret: str,
    scope: str,
    name: str,
    actor: str,
    now_ms: int,
    **more: int | None,
) -> None:
    if len(name) > NAME_MAX or not name.isprintable():
        raise InvalidValueError(f"A key's name must have at most {NAME_MAX} printable characters.")
    connection.execute(
        keys.insert().values(
            key_id=key_id,
            secret_hash=hash_secret(secret),
            scope=scope,
            name=name,
            created_ms=now_ms,
            **more,
        )
    )
    events.append(connection, "key_created", actor, now_ms=now_ms, details={"key_id": key_id, "scope": scope})


def create_join_code(connection: Connection, *, actor: str, now_ms: int) -> CreatedKey:
    """The code of "Add another computer": a join key for one server, for one hour."""
    return create_key(
        connection,
        "join",
        name="Add another computer",
        actor=actor,
        now_ms=now_ms,
        expires_ms=now_ms + JOIN_CODE_TTL_MS,
        single_server=True,
    )


def list_keys(connection: Connection) -> list[KeyInfo]:
    """All keys, newest first, revoked ones too; without the join codes that a computer used up."""
    query = (
        sa.select(keys, servers.c.alias)
        .join(servers, servers.c.server_id == keys.c.server_id, isouter=True)
        .where(keys.c.used_by.is_(None))
        .order_by(keys.c.created_ms.desc(), keys.c.key_id)
    )
    return [_key_info(row._mapping) for row in connection.execute(query)]


def _key_info(row: Mapping[Any, Any]) -> KeyInfo:
    return KeyInfo(
        key_id=row["key_id"],
        scope=row["scope"],
        name=row["name"],
        server_id=row["server_id"],
        server=row["alias"],
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
        last_used_ms=row["last_used_ms"],
        revoked_ms=row["revoked_ms"],
        single_server=bool(row["single_server"]),
    )


def revoke_key(connection: Connection, key_id: str, *, actor: str, now_ms: int) -> None:
    """Make a key worthless, for good. Repeating it changes nothing. Raises NotFoundError."""
    revoked = connection.execute(
        keys.update().where(keys.c.key_id == key_id, keys.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
    )
    if revoked.rowcount:
        events.append(connection, "key_revoked", actor, now_ms=now_ms, details={"key_id": key_id})
    elif connection.execute(sa.select(keys.c.key_id).where(keys.c.key_id == key_id)).first() is None:
        raise NotFoundError(f"No key {key_id!r} exists.", remedy="`stablequeue keys list` shows the ids.")


def is_valid(connection: Connection, credentials: Credentials, scope: str) -> bool:
    """Return whether such a key exists with this scope and is not revoked."""
    row = connection.execute(
        sa.select(keys.c.secret_hash).where(
            keys.c.key_id == credentials.key_id, keys.c.scope == scope, keys.c.revoked_ms.is_(None)
        )
    ).first()
    return row is not None and hmac.compare_digest(row.secret_hash, credentials.secret_hash)


def store_server_key(connection: Connection, server_id: str, secret_hash: str, *, now_ms: int) -> None:
    """The key a server made for itself; storing the same one again changes nothing.

    Raises ConflictError for another secret (else any join key could take over a server's identity) and
    ForbiddenError when this key was revoked.
    """
    row = connection.execute(sa.select(keys).where(keys.c.key_id == server_id)).first()
    if row is None:
        connection.execute(
            keys.insert().values(
                key_id=server_id,
                secret_hash=secret_hash,
                scope="server",
                server_id=server_id,
                created_ms=now_ms,
            )
        )
    elif row.scope != "server" or not hmac.compare_digest(row.secret_hash, secret_hash):
        raise ConflictError(
            "This server id is registered with another secret.",
            remedy="Delete `server.json` in its data folder and join again, or forget the server first.",
        )
    elif row.revoked_ms is not None:
        raise ForbiddenError(
            "The key of this server was revoked.",
            remedy="Forget the server on the hub, then join again.",
        )


# --- recognising a key ----------------------------------------------------------------------------------


def hash_secret(secret: str) -> str:
    """Return the hash under which a secret is stored."""
    return hashlib.sha256(secret.encode("ascii", "replace")).hexdigest()


def parse_key(text: str) -> Credentials | None:
    """``sq_<id>_<secret>`` as credentials, or None when it is no key."""
    match = _KEY.fullmatch(text)
    return Credentials(match[1], hash_secret(match[2])) if match else None


def credentials_of(headers: Mapping[str, str]) -> Credentials | None:
    """The key in a request's headers; None when there is none. Raises AuthenticationError for a broken one.

    Accepted: ``X-API-Key`` with ``X-API-Secret`` (wins, as it always did), ``Authorization: Bearer`` with
    the key itself or with base64 of ``id:secret``.
    """
    key_id, secret = headers.get("x-api-key"), headers.get("x-api-secret")
    authorization = headers.get("authorization")
    if key_id is not None and secret is not None:
        found = _pair(key_id, secret)
    elif authorization is not None:
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        found = (parse_key(token) or _encoded_pair(token)) if scheme.lower() == "bearer" else None
    else:
        return None
    if found is None:
        raise AuthenticationError("The credentials are not in the form of a key.")
    return found


def _encoded_pair(token: str) -> Credentials | None:
    try:
        key_id, _, secret = base64.b64decode(token, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return None
    return _pair(key_id, secret)


def _pair(key_id: str, secret: str) -> Credentials | None:
    """Id and secret; either may also be the whole key's form (``sq_<id>``, ``sq_<id>_<secret>``), and both
    those of an old client."""
    whole = parse_key(secret)
    if whole is not None:
        return whole
    if _PAIR_ID.match(key_id) and _PAIR_SECRET.match(secret):
        return Credentials(key_id, hash_secret(secret))
    key_id = key_id.removeprefix("sq_")
    if _KEY_ID.match(key_id) and _SECRET.match(secret):
        return Credentials(key_id, hash_secret(secret))
    return None


class KeyCache:
    """Keys as they are checked on every request, remembered for a few seconds. One per hub process.

    The caller reads (``refresh``, in a worker thread) what is not fresh, then asks ``check``.
    """

    def __init__(self, clock: HubClock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._keys: dict[str, _StoredKey] = {}
        self._used: dict[str, int] = {}

    def is_known(self, key_id: str) -> bool:
        """Return whether a valid key has this id; it is checked even when its address is throttled."""
        return key_id in self._keys

    def is_fresh(self, key_id: str) -> bool:
        stored = self._keys.get(key_id)
        return stored is not None and self._clock.monotonic() - stored.fetched_at <= CACHE_S

    def refresh(self, connection: Connection, key_id: str) -> None:
        """Read the key again from the database."""
        row = connection.execute(
            sa.select(keys).where(keys.c.key_id == key_id, keys.c.revoked_ms.is_(None))
        ).first()
        if row is None:
            self._keys.pop(key_id, None)
            return
        self._keys[key_id] = self._stored(row)

    def refresh_all(self, connection: Connection) -> None:
        """Read all good keys, so that no request waits for that, nor for a neighbour's mistakes."""
        good = sa.or_(keys.c.expires_ms.is_(None), keys.c.expires_ms > self._clock.now_ms())
        rows = connection.execute(sa.select(keys).where(keys.c.revoked_ms.is_(None), good)).all()
        self._keys = {row.key_id: self._stored(row) for row in rows}

    def _stored(self, row: Row[Any]) -> _StoredKey:
        principal = Principal("key", row.scope, row.key_id, row.server_id)
        return _StoredKey(row.secret_hash, principal, row.expires_ms, self._clock.monotonic())

    def check(self, credentials: Credentials) -> Principal | None:
        """Return the cached key's principal; None when the key is unknown, revoked, expired or wrong."""
        stored = self._keys.get(credentials.key_id)
        # The same work for an unknown id, so that the time tells nothing.
        expected = stored.secret_hash if stored else "0" * 64
        right = hmac.compare_digest(expected, credentials.secret_hash)
        if stored is None or not right:
            return None
        now_ms = self._clock.now_ms()
        if stored.expires_ms is not None and stored.expires_ms <= now_ms:
            return None
        self._used[credentials.key_id] = now_ms
        return stored.principal

    def drop(self, key_id: str) -> None:
        """Forget what is remembered of a key, so that its revocation counts at once."""
        self._keys.pop(key_id, None)

    def pop_used(self) -> dict[str, int]:
        """Return and clear the last use of each key since the last call; for the flush."""
        used, self._used = self._used, {}
        return used


def flush_used(connection: Connection, used: Mapping[str, int]) -> None:
    """Write the last use of keys."""
    for key_id, at_ms in sorted(used.items()):
        connection.execute(keys.update().where(keys.c.key_id == key_id).values(last_used_ms=at_ms))
