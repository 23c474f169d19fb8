"""``keys create|list|revoke``: straight on the store, also while the hub runs (it notices within seconds)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from stablequeue_client.shared.errors import DataFolderError
from stablequeue_hub.access.keys import create_key, create_pair, list_keys, revoke_key
from stablequeue_hub.clock import SYSTEM_CLOCK, HubClock
from stablequeue_hub.store.engine import Store, open_store
from stablequeue_hub.store.migrate import current_revision, migrate, newest_revision

ACTOR = "key:command-line"


def create(
    data_dir: Path | None, url: str | None, scope: str, name: str = "", *, clock: HubClock = SYSTEM_CLOCK
) -> dict[str, Any]:
    """``{"key": "sq_...", "key_id", "scope", "name", ...}``; the key is shown this once."""
    with _store(data_dir, url) as store, store.write() as connection:
        key = create_key(connection, scope, name=name, actor=ACTOR, now_ms=clock.now_ms())
    return _plain(key)


def create_old_pair(
    data_dir: Path | None, url: str | None, name: str = "", *, clock: HubClock = SYSTEM_CLOCK
) -> dict[str, Any]:
    """``{"key": "mk_...", "secret", "bearer", ...}`` for an old client; the secret is shown this once."""
    with _store(data_dir, url) as store, store.write() as connection:
        return _plain(create_pair(connection, name=name, actor=ACTOR, now_ms=clock.now_ms()))


def list_all(data_dir: Path | None, url: str | None) -> dict[str, Any]:
    """``{"keys": [...]}`` without secrets, newest first."""
    with _store(data_dir, url) as store, store.read() as connection:
        return {"keys": [_plain(key) for key in list_keys(connection)]}


def revoke(
    data_dir: Path | None, url: str | None, key_id: str, *, clock: HubClock = SYSTEM_CLOCK
) -> dict[str, Any]:
    """``{"revoked": id}``. Raises NotFoundError."""
    with _store(data_dir, url) as store, store.write() as connection:
        revoke_key(connection, key_id, actor=ACTOR, now_ms=clock.now_ms())
    return {"revoked": key_id}


def as_text(answer: dict[str, Any]) -> str:
    """An answer for people: the new key alone (of a pair the secret below it), a line for each key, or what
    was revoked."""
    if "secret" in answer:
        return f"{answer['key']}\n{answer['secret']}"
    if "key" in answer:
        return str(answer["key"])
    if "revoked" in answer:
        return f"Key {answer['revoked']} is revoked."
    lines = [
        f"{key['key_id']}  {key['scope']:6}  {'revoked' if key['revoked_ms'] else 'valid':7}  {_whose(key)}"
        for key in answer["keys"]
    ]
    return "\n".join(lines) or "There are no keys yet."


def _whose(key: dict[str, Any]) -> str:
    """The note on the key, or whom it was made for."""
    if key["server_id"] is None:
        return str(key["name"])
    server = f"server {key['server'] or key['server_id']}"
    return f"{server} ({key['name']})" if key["name"] else server


@contextmanager
def _store(data_dir: Path | None, url: str | None) -> Iterator[Store]:
    """The store, its schema up to date. A data folder is only needed for SQLite."""
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(url, data_dir or Path(scratch))
        try:
            if data_dir is None and current_revision(store) not in (None, newest_revision()):
                # The copy made before a migration must land where it stays.
                raise DataFolderError(
                    "The hub's data has another schema version.",
                    remedy="Start the hub first; it upgrades the data.",
                )
            migrate(store)
            yield store
        finally:
            store.close()


def _plain(value: Any) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(value)
    return built
