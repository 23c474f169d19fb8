"""Marks for the cards of the WebUI's own browser of checkpoints, LoRAs and embeddings.

A card gets a mark when its file has a problem, or when a hub can say where else the model is. The hub is
asked in a thread of our own, for a thousand contents at a time; what it said stands for a minute.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from stablequeue_client.index.rows import IndexRow
from stablequeue_client.index.snapshot import Snapshot
from stablequeue_client.shared.model_files.model_file import Kind, webui_name
from stablequeue_client.shared.wire.inventory import AVAILABILITY_MAX_HASHES, native_path
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.views import card_marks
from stablequeue_client.webui.views.card_marks import CardMark

FRESH_S = 60.0
CHUNK = 500


class CardMarksAnswer(msgspec.Struct, omit_defaults=True):
    """What the script gets. ``cards``: name on the card -> (end of its path, look, place in our tab) of each
    file of that name; the end is empty where there is one. ``more``: the hub has not said all yet."""

    looks: list[CardMark]
    cards: dict[str, list[tuple[str, int, str]]]
    on: bool = True
    more: bool = False


class CardMarkCache:
    """What is remembered between two answers. Any thread may call ``marks``."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._elsewhere = ServerCounts(rt)
        self._kept: dict[Kind, tuple[tuple[object, ...], bytes]] = {}

    def marks(self, kind: Kind) -> bytes:
        """All cards of a kind as JSON (docs/extension-api.md); the same bytes until one changes."""
        if not self._rt.settings().card_marks:
            return msgspec.json.encode(CardMarksAnswer([], {}, on=False))
        self._rt.models.refresh()
        snapshot, servers = self._rt.models.snapshot, self._rt.hub.state().servers
        rows = [row for row in snapshot.rows if row.kind == kind]
        known, more = self._elsewhere.known({row.sha256 for row in rows if row.sha256})
        key = (snapshot.version, servers, self._elsewhere.version, more)
        kept = self._kept.get(kind)
        if kept is None or kept[0] != key:
            answer = _answer(rows, _away_roots(snapshot), known, servers, more)
            kept = self._kept[kind] = (key, msgspec.json.encode(answer))
        return kept[1]


class ServerCounts:
    """On how many other servers a content is, as the hub says. ``version`` grows when that changed."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._lock = threading.Lock()
        self._found: dict[str, int] = {}
        self._asked: dict[str, float] = {}
        self._asking = False
        self._asker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stablequeue-cards")
        self.version = 0

    def known(self, contents: Iterable[str]) -> tuple[Mapping[str, int], bool]:
        """(SHA256 -> other servers that have it, whether the hub is being asked). Returns at once."""
        if self._rt.hub.state().kind != "connected":
            with self._lock:
                self._found, self._asked = {}, {}
            return {}, False
        now = time.monotonic()
        with self._lock:
            due = sorted(sha for sha in contents if now - self._asked.get(sha, -FRESH_S) >= FRESH_S)
            if due and not self._asking:
                self._asking = True
                self._asker.submit(self._ask, due)
            return self._found, self._asking

    def _ask(self, contents: Sequence[str]) -> None:
        try:
            for start in range(0, len(contents), AVAILABILITY_MAX_HASHES):
                piece = contents[start : start + AVAILABILITY_MAX_HASHES]
                self._take(piece, self._rt.hub.who_has(piece))
        finally:
            with self._lock:
                self._asking = False

    def _take(self, asked: Sequence[str], answer: Mapping[str, list[str]]) -> None:
        found = {sha: len(answer[sha]) for sha in asked if sha in answer}
        now = time.monotonic()
        with self._lock:
            self._asked.update((sha, now) for sha in asked)
            if any(self._found.get(sha) != count for sha, count in found.items()):
                self._found = {**self._found, **found}
                self.version += 1


class _Card(NamedTuple):
    name: str
    path: str
    look: CardMark
    place: str


def _answer(
    rows: Sequence[IndexRow], away: frozenset[str], elsewhere: Mapping[str, int], servers: int, more: bool
) -> CardMarksAnswer:
    by_name: dict[str, list[IndexRow]] = defaultdict(list)
    for row in rows:
        by_name[_card_name(row)].append(row)
    looks: dict[CardMark, int] = {}
    cards: dict[str, list[tuple[str, int, str]]] = {}
    for number, (name, same) in enumerate(sorted(by_name.items()), 1):
        found = [card for row in same if (card := _card(name, row, same, away, elsewhere, servers))]
        if found:
            cards[name] = [
                ("" if len(same) == 1 else card.path, looks.setdefault(card.look, len(looks)), card.place)
                for card in found
            ]
        if number % CHUNK == 0:
            time.sleep(0.001)  # a generation may run in this process
    return CardMarksAnswer(list(looks), cards, more=more)


def _card(
    name: str,
    row: IndexRow,
    same: Sequence[IndexRow],
    away: frozenset[str],
    elsewhere: Mapping[str, int],
    servers: int,
) -> _Card | None:
    """The worst that is to be said of a file; None when there is nothing."""
    look = card_marks.of_state(row.state)
    if look is None and row.root_id in away:
        look = card_marks.FOLDER_AWAY
    if look is None and row.kind != "checkpoint" and len({r.sha256 or r.key for r in same}) > 1:
        look = card_marks.NAME_TWICE
    others = elsewhere.get(row.sha256 or "")
    if look is None and others is not None and servers > 1:
        look = card_marks.on_servers(1 + others, servers)
    return _Card(name, native_path(row.path), look, card_marks.place(row.sha256, name)) if look else None


def _card_name(row: IndexRow) -> str:
    """Return what the host writes on the card: the file name without its extension, for every kind."""
    return webui_name("lora", native_path(row.path))


def _away_roots(snapshot: Snapshot) -> frozenset[str]:
    return frozenset(root.root_id for root in snapshot.roots if root.health == "unreachable")
