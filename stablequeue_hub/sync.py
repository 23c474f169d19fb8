"""One inventory sync: what a server sent becomes what the hub has, in one transaction."""

from __future__ import annotations

from stablequeue_client.protocol import SyncAnswer
from stablequeue_hub.db.engine import Store
from stablequeue_hub.sync_decoding import DecodedSync, decode_sync, decompress_limited

__all__ = ["DecodedSync", "apply_sync", "decode_sync", "decompress_limited", "forget_server"]


def apply_sync(store: Store, server_id: str, request: DecodedSync, *, now_ms: int) -> SyncAnswer:
    """Take over a full inventory or a delta. Errors: NotFoundError (server never joined),
    ServerFrozenError, and with ``details`` {index_id, sequence, digest} of what the hub has:
    SyncOutOfStepError, RolledBackError, DigestMismatchError. Nothing is changed then.
    """
    raise NotImplementedError


def forget_server(store: Store, server_id: str, *, actor: str, now_ms: int) -> None:
    """Remove a server with its inventory and availability; its models stay. Raises NotFoundError."""
    raise NotImplementedError
