"""A heartbeat: note that the server lives, name the sync the hub needs and the orders. Memory only."""

from __future__ import annotations

from typing import Literal

import msgspec

from stablequeue_client.shared.errors import InvalidValueError, ServerFrozenError, TooLargeError
from stablequeue_client.shared.wire.inventory import HEARTBEAT_MAX_BYTES, Heartbeat, HeartbeatAnswer
from stablequeue_hub.servers.presence import Inventory, Presence

ORDERS_IN_ONE_ANSWER = 50
COUNTER_MAX = 2**53

_decoder = msgspec.json.Decoder(Heartbeat)


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Raises TooLargeError above 512 bytes and InvalidValueError for what is no heartbeat."""
    if len(body) > HEARTBEAT_MAX_BYTES:
        raise TooLargeError(f"A heartbeat must have at most {HEARTBEAT_MAX_BYTES} bytes, not {len(body)}.")
    try:
        beat = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidValueError(f"This is not a valid heartbeat: {exc}.") from None
    numbers = (beat.boot_counter, beat.sequence, beat.orders_seen)
    if not beat.boot_id or beat.boot_counter < 1 or min(numbers) < 0 or max(numbers) > COUNTER_MAX:
        raise InvalidValueError("A heartbeat needs a boot_id, and numbers from 0 (boot_counter: 1) to 2^53.")
    return beat


def handle_heartbeat(presence: Presence, server_id: str, beat: Heartbeat) -> HeartbeatAnswer:
    """Note a heartbeat and answer it. Raises NotFoundError, ServerFrozenError (two copies run).

    A repeated number and a retired process get an empty answer: they neither sync nor take orders.
    """
    speaks = presence.record_heartbeat(server_id, beat.boot_id, beat.boot_counter)
    server = presence.known(server_id)
    if server.frozen is not None:
        raise ServerFrozenError(server.frozen)
    if not speaks:
        return HeartbeatAnswer()
    server.activity = beat.activity
    want = None if server.syncing else wanted_sync(server.inventory, beat)
    return HeartbeatAnswer(want, presence.orders_for(server_id, beat.orders_seen)[:ORDERS_IN_ONE_ANSWER])


def wanted_sync(known: Inventory, beat: Heartbeat) -> Literal["full", "delta"] | None:
    """The sync that brings the hub's inventory to the server's.

    Digests are compared at equal sequence only. A server behind the hub was set back: its full inventory is
    answered with ``rolled_back``, from which it heals.
    """
    if known.index_id != beat.index_id or beat.sequence < known.sequence:
        return "full"
    if beat.sequence > known.sequence:
        return "delta"
    return None if beat.digest == known.digest else "full"
