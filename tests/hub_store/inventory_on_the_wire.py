"""An agent's side of the sync, as small as it can be: entries, bodies, and an inventory with a sequence."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from stablequeue_client.shared.wire.inventory import digest_hex, digest_sum, row_digest


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def root(
    root_id: str = "r1", kind: str = "checkpoint", health: str = "healthy", **more: Any
) -> dict[str, Any]:
    return {"root": root_id, "kind": kind, "health": health, "label": f"models/{root_id}", **more}


def ready(path: str, content: str, **more: Any) -> dict[str, Any]:
    """A hashed file; ``content`` stands for its bytes."""
    digests = {"sha256": sha(content), "blake3": sha("b" + content), "autov1": sha("1" + content)[:8]}
    entry = {"root": "r1", "path": path, "kind": "checkpoint", "size": 1000 + len(content), "state": "ready"}
    return {**entry, "digests": digests, **more}


def unhashed(path: str, *claims: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A file nobody read yet, with claims (digest, value)."""
    entry = {"root": "r1", "path": path, "kind": "checkpoint", "size": 77, "state": "unhashed"}
    if claims:
        entry["claims"] = [{"source": "sidecar", "digest": name, "value": value} for name, value in claims]
    return {**entry, **more}


def body(
    mode: str,
    index_id: str,
    base: int,
    sequence: int,
    digest: str,
    roots: list[dict[str, Any]],
    upserts: list[dict[str, Any]],
    removals: list[dict[str, Any]],
) -> bytes:
    """A request as JSON."""
    return msgspec.json.encode(
        {
            "protocol": 1,
            "index_id": index_id,
            "mode": mode,
            "base_sequence": base,
            "sequence": sequence,
            "digest": digest,
            "roots": roots,
            "upserts": upserts,
            "removals": removals,
        }
    )


def digest_of(entries: list[dict[str, Any]]) -> str:
    return digest_hex(digest_sum(row_digest(entry) for entry in entries))


class Agent:
    """A server's inventory: put and remove entries, then send all of it or what changed since a sequence."""

    def __init__(self, index_id: str = "index-1") -> None:
        self.index_id = index_id
        self.sequence = 0
        self.rows: dict[tuple[str, str | None], tuple[int, dict[str, Any] | None]] = {}

    def put(self, *entries: dict[str, Any]) -> Agent:
        for entry in entries:
            self._change((entry["root"], entry.get("path")), entry)
        return self

    def remove(self, *keys: tuple[str, str | None]) -> Agent:
        for key in keys:
            self._change(key, None)
        return self

    def _change(self, key: tuple[str, str | None], entry: dict[str, Any] | None) -> None:
        self.sequence += 1
        self.rows[key] = (self.sequence, entry)

    def entries(self) -> list[dict[str, Any]]:
        return [entry for _, entry in self.rows.values() if entry is not None]

    def digest(self) -> str:
        return digest_of(self.entries())

    def full(self) -> bytes:
        roots = [entry for entry in self.entries() if "path" not in entry]
        files = [entry for entry in self.entries() if "path" in entry]
        return body("full", self.index_id, 0, self.sequence, self.digest(), roots, files, [])

    def delta(self, base: int) -> bytes:
        changed = [(key, entry) for key, (at, entry) in self.rows.items() if at > base]
        roots = [entry for key, entry in changed if entry is not None and key[1] is None]
        files = [entry for key, entry in changed if entry is not None and key[1] is not None]
        gone = [
            {"root": key[0]} if key[1] is None else {"root": key[0], "path": key[1]}
            for key, entry in changed
            if entry is None
        ]
        return body("delta", self.index_id, base, self.sequence, self.digest(), roots, files, gone)
