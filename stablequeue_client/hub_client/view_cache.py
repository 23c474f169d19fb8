"""What the hub says, for the views of a WebUI: never waited for long, never asked too often.

One request is under way at a time, in a thread of its own; who asks waits a moment for it and then goes on
with what was known. During an outage the waits between two requests grow (``HubLink``), and a hub that
refuses is asked every five minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stablequeue_client.clock import SYSTEM_CLOCK, Clock
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.backoff import Backoff
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.hub_client.identity import Identity
from stablequeue_client.hub_client.joined_connection import (
    Connect,
    JoinedConnection,
    NotJoinedError,
    PerIdentityCache,
    connection_factory,
)
from stablequeue_client.hub_client.link import HubLink
from stablequeue_client.hub_client.membership import OtherHubError
from stablequeue_client.shared.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    HubUnreachableError,
    NotAHubError,
    NotFoundError,
    OldStableQueueError,
    StableQueueError,
)
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.wire.inventory import AVAILABILITY_MAX_HASHES

HubKind = Literal["none", "asking", "connected", "away", "refused", "old"]
"""``asking``: it is being asked for the first time."""

WAIT_S = 1.0
"""How long to wait for an answer that is not cached yet; a cached one is refreshed in less."""
REFRESH_WAIT_S = 0.3
FRESH_S = 1.5
"""The page asks every two seconds; several windows of it share one answer."""
PROBE_EVERY_S = 15.0
KEEP_S = 60.0
"""How long a cached answer counts when the hub no longer answers."""
WHO_FRESH_S = 10.0
CACHED_FRESH_S = 3.0
LONGEST_WAIT_S = 60.0
CACHED_MAX = 32
TIMEOUTS = Timeouts(connect=3.0, read=5.0, total=10.0)

JOIN = 'Join it: "Set up", with a code from "Add another computer" on the hub\'s page.'
JOIN_AGAIN = (
    'Join it again: "Set up", with a code from "Add another computer" on the hub\'s page. '
    "Nothing here is lost meanwhile."
)
OLD = (
    'Start the new one ("Set up", "Use on this computer") and use its address; '
    "the old server is left as it is."
)
SERVERS = ("servers", "")
"""The key of the answer that also tells how it stands with the hub."""


@dataclass(frozen=True)
class HubState:
    """How it stands with the hub. ``since_ms``: since when; ``message`` and ``remedy`` unless connected.

    ``servers`` that the hub knows and how many are ``connected``; 0 while it never answered.
    """

    kind: HubKind
    since_ms: int | None = None
    message: str = ""
    remedy: str = ""
    url: str = ""
    alias: str = ""
    servers: int = 0
    connected: int = 0


@dataclass(frozen=True)
class HubAnswer:
    """A value and when the hub gave it. ``stale``: it could not be had anew just now."""

    value: Any
    at_ms: int
    stale: bool = False


@dataclass(frozen=True)
class _CacheEntry:
    answer: HubAnswer
    at: float
    etag: str | None


class _PendingRequest:
    """One request on its way. ``refusal``: what the hub said instead of an answer."""

    def __init__(self, started: float, probing: bool) -> None:
        self.started = started
        self.probing = probing
        self.done = threading.Event()
        self.refusal: StableQueueError | None = None


class _Connection(JoinedConnection):
    """Everything that belongs to one ``server.json``; another one begins with nothing known."""

    def __init__(self, identity: Identity, connect: Connect, timeouts: Timeouts, clock: Clock) -> None:
        link = HubLink(clock, Backoff(first_s=2.0, longest_s=LONGEST_WAIT_S))
        super().__init__(identity, connect, timeouts, link)
        self.reached = False
        self.cache: dict[_Key, _CacheEntry] = {}
        self.pending: dict[_Key, _PendingRequest] = {}
        self.gone: set[_Key] = set()
        self.request_lock = threading.Lock()
        """One request at a time, on one connection."""


_Wanted = str | tuple[Kind, str]
_Key = tuple[str, ...]
_Fetch = Callable[[HubApi, "str | None"], "tuple[Any, str | None]"]
"""(hub, ETag of what is known) -> (value or None for "unchanged", its ETag)."""


class HubViewCache:
    """What the hub of one WebUI last said. Any thread may call anything; only ``view`` and ``cached_view``
    raise: what the hub says of it."""

    def __init__(
        self,
        server_dir: Path,
        *,
        ca_file: Callable[[], str | None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        connect = connection_factory(ca_file)
        self._server = PerIdentityCache(
            server_dir, lambda identity: _Connection(identity, connect, timeouts, clock)
        )

    # --- what is asked ----------------------------------------------------------------------------------

    def state(self) -> HubState:
        """As far as it is known now; returns at once. Asks the hub in the background every 15 seconds."""
        connection = self._server.current()
        if connection is None:
            broken = self._server.damage
            if broken is None:
                return HubState("none")
            return HubState("refused", message=broken.message, remedy=broken.remedy)
        self._ask(connection, SERVERS, _view_fetch("servers", "", {}), patience=0.0, fresh_s=PROBE_EVERY_S)
        return _state_of(connection)

    def view(self, name: str, ident: str = "", query: Mapping[str, str] | None = None) -> HubAnswer | None:
        """A view's value (of the type ``views.view_types.VIEW_TYPES[name]``), or None: no hub, or no answer.

        Waits at most about a second. Raises NotFoundError or ConflictError: the hub has no such thing.
        """
        connection = self._server.current()
        if connection is None:
            return None
        filters = {key: value for key, value in (query or {}).items() if value and key != "view"}
        key = (name, ident, *(f"{word}={value}" for word, value in sorted(filters.items())))
        fetch = _view_fetch(name, ident, filters)
        return self._ask(connection, key, fetch, patience=WAIT_S, fresh_s=FRESH_S)

    def cached_view(self, name: str, ident: str = "", *, fresh_s: float = CACHED_FRESH_S) -> Any:
        """A view's value as it was last known, or None; returns at once and asks in the background.

        Raises NotFoundError when the hub said the last time that there is no ``ident``.
        """
        connection = self._server.current()
        if connection is None:
            return None
        fetch = _view_fetch(name, ident, {})
        answer = self._ask(connection, (name, ident), fetch, patience=0.0, fresh_s=fresh_s)
        if ident and (name, ident) in connection.gone:
            raise NotFoundError(f"The hub has no {name} {ident}.")
        return answer.value if answer is not None else None

    def who_has(self, texts: Sequence[str]) -> dict[str, list[str]]:
        """Hash or name -> aliases of the other servers that have it and are connected.

        What the hub does not know, or knows several models for, is left out. Waits at most about a second.
        """
        return {text: who for text, who in self._who(sorted(set(texts)), []).items() if isinstance(text, str)}

    def who_has_named(self, names: Sequence[tuple[Kind, str]]) -> dict[tuple[Kind, str], list[str]]:
        """As ``who_has`` for names of one kind each, which are names also where they look like a hash."""
        found = self._who([], sorted(set(names)))
        return {name: who for name, who in found.items() if not isinstance(name, str)}

    def _who(self, texts: list[str], names: list[tuple[Kind, str]]) -> dict[_Wanted, list[str]]:
        connection = self._server.current()
        if connection is None or not (texts or names):
            return {}
        own = connection.identity.server_id
        answer = self._ask(
            connection,
            ("who_has", *texts, *(f"{kind} {name}" for kind, name in names)),
            lambda hub, _: (_who_has(hub, texts, names, own), None),
            patience=WAIT_S,
            fresh_s=WHO_FRESH_S,
        )
        return dict(answer.value) if answer is not None else {}

    def forget(self) -> None:
        """The connection changed (joined, left): begin anew. A changed server.json is noticed by itself."""
        self._server.forget()

    # --- one request at a time --------------------------------------------------------------------------

    def _ask(
        self, connection: _Connection, key: _Key, fetch: _Fetch, *, patience: float, fresh_s: float
    ) -> HubAnswer | None:
        """Return what is known under ``key``, refreshed when it is old and the hub's turn has come."""
        now = self._clock.monotonic()
        with self._lock:
            kept = connection.cache.get(key)
            if kept is not None and now - kept.at < fresh_s:
                return kept.answer
            flight = self._pending_request(connection, key, fetch, kept, now)
        if flight is not None and patience:
            longest = WAIT_S if kept is None else REFRESH_WAIT_S
            flight.done.wait(max(0.0, flight.started + longest - now))
            if flight.refusal is not None:
                raise flight.refusal
        with self._lock:
            return self._known(connection, key, fresh_s)

    def _known(self, connection: _Connection, key: _Key, fresh_s: float) -> HubAnswer | None:
        kept = connection.cache.get(key)
        age = self._clock.monotonic() - kept.at if kept is not None else 0.0
        if kept is None or age > KEEP_S:
            return None
        return kept.answer if age < fresh_s else replace(kept.answer, stale=True)

    def _pending_request(
        self, connection: _Connection, key: _Key, fetch: _Fetch, kept: _CacheEntry | None, now: float
    ) -> _PendingRequest | None:
        """The request for this key that is under way, or a new one; None when the hub is not to be asked."""
        flights = connection.pending
        if key in flights:
            return flights[key]
        if any(now - flight.started > WAIT_S for flight in flights.values()):
            return None  # it is slow already; more questions would only queue up
        if connection.link.retry_in() > 0:
            return None
        flight = flights[key] = _PendingRequest(now, probing=connection.link.state().problem is not None)
        threading.Thread(
            target=self._run,
            args=(connection, key, fetch, kept, flight),
            name="stablequeue-hub-reader",
            daemon=True,
        ).start()
        return flight

    def _run(
        self,
        connection: _Connection,
        key: _Key,
        fetch: _Fetch,
        kept: _CacheEntry | None,
        flight: _PendingRequest,
    ) -> None:
        """One request, in a thread of its own."""
        try:
            with connection.request_lock:
                if flight.probing or connection.link.state().problem is None:
                    self._request(connection, key, fetch, kept)
        except StableQueueError as error:
            if connection.greeted and error.code in (NotFoundError.code, ConflictError.code):
                flight.refusal = error  # the hub answers; there is only no such thing
                if error.code == NotFoundError.code:
                    connection.gone = {*list(connection.gone)[-CACHED_MAX:], key}
                connection.link.succeeded()
            else:
                connection.failed(error)
        finally:
            with self._lock:
                connection.pending.pop(key, None)
            flight.done.set()

    def _request(self, connection: _Connection, key: _Key, fetch: _Fetch, kept: _CacheEntry | None) -> None:
        value, etag = fetch(connection.hub(), kept.etag if kept else None)
        now_ms = int(self._clock.now() * 1000)
        if value is None and kept is not None:
            value = kept.answer.value
        with self._lock:
            connection.reached = True
            connection.gone.discard(key)
            connection.cache.pop(key, None)
            connection.cache[key] = _CacheEntry(HubAnswer(value, now_ms), self._clock.monotonic(), etag)
            while len(connection.cache) > CACHED_MAX:
                del connection.cache[next(iter(connection.cache))]
        connection.link.succeeded()


# --- requests ---------------------------------------------------------------------------------------------


def _view_fetch(name: str, ident: str, filters: Mapping[str, str]) -> _Fetch:
    def fetch(hub: HubApi, etag: str | None) -> tuple[Any, str | None]:
        value = hub.view(name, ident, filters, etag)
        return value, etag if value is None else hub.last_etag

    return fetch


def _who_has(
    hub: HubApi, texts: Sequence[str], names: Sequence[tuple[Kind, str]], own_id: str
) -> dict[_Wanted, list[str]]:
    wanted: list[_Wanted] = [*texts, *names]
    found: dict[_Wanted, list[str]] = {}
    for start in range(0, len(wanted), AVAILABILITY_MAX_HASHES):
        piece = wanted[start : start + AVAILABILITY_MAX_HASHES]
        asked = [text for text in piece if isinstance(text, str)]
        answer = hub.availability_many(asked, [name for name in piece if not isinstance(name, str)])
        for text, result in zip(piece, answer.get("results") or (), strict=False):
            if result.get("matches") and not result.get("ambiguous"):
                found[text] = [
                    str(server.get("alias"))
                    for server in result.get("servers") or ()
                    if server.get("availability") == "available" and server.get("server_id") != own_id
                ]
    return found


# --- states -----------------------------------------------------------------------------------------------


def _state_of(connection: _Connection) -> HubState:
    identity, link = connection.identity, connection.link.state()
    since_ms = int(link.since * 1000)
    state = HubState("connected", since_ms, url=identity.hub_url, alias=identity.alias)
    kept = connection.cache.get(SERVERS)
    page = kept.answer.value if kept is not None else None
    if isinstance(page, v.ServersPage):
        connected = sum(card.connected for card in page.servers)
        # It may have been renamed on the hub's page since it joined.
        alias = next(
            (card.alias for card in page.servers if card.server_id == identity.server_id), identity.alias
        )
        state = replace(state, servers=len(page.servers), connected=connected, alias=alias)
    if link.problem is not None:
        kind, message, remedy = describe_failure(link.problem, identity.hub_url)
        return replace(state, kind=kind, message=message, remedy=remedy)
    if not connection.reached:
        return replace(state, kind="asking", since_ms=None)
    for card in page.servers if isinstance(page, v.ServersPage) else ():
        if card.server_id == identity.server_id and card.frozen:
            return replace(
                state, kind="refused", message="Two running copies use the identity of this WebUI.",
                remedy=card.frozen, since_ms=None,
            )  # fmt: skip
    return state


def describe_failure(error: StableQueueError, url: str) -> tuple[HubKind, str, str]:
    """A failed request in the words of somebody who looks at the WebUI: kind, what happened, what to do."""
    if isinstance(error, OldStableQueueError):
        return (
            "old",
            f"The old StableQueue server runs at {url}; it cannot take what this WebUI reports.",
            OLD,
        )
    if isinstance(error, NotJoinedError):
        return "refused", f"This WebUI has not joined the hub at {url} yet.", JOIN
    if isinstance(error, OtherHubError):
        return "refused", f"Another hub than the one this WebUI joined answers at {url}.", JOIN_AGAIN
    if isinstance(error, AuthenticationError):
        return "refused", f"The hub at {url} no longer knows this WebUI.", JOIN_AGAIN
    if isinstance(error, ForbiddenError):
        return "refused", f"The hub at {url} is too old to answer a WebUI.", "Update the hub."
    if isinstance(error, NotAHubError):
        return "refused", error.message, "Correct the address under Settings, StableQueue."
    if isinstance(error, HubUnreachableError):
        remedy = "Check that its computer is on and StableQueue runs there. It is retried automatically."
        return "away", error.message, remedy
    return "refused", error.message, error.remedy
