"""Orders: what an owner wants a server to do; sent with heartbeats until it took them over or they expire.

An order's id is the hub's clock in milliseconds (or one more than the last id): servers remember the highest
id they took over, and ids must stay new after the hub's database was set back to a backup.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError, NotFoundError
from stablequeue_client.shared.wire.inventory import WIRE_PATH_MAX, wire_path_problem
from stablequeue_client.shared.wire.orders import ORDER_TTL_S, HashingOrder, Order, OrderKind
from stablequeue_hub.events import events
from stablequeue_hub.servers.presence import WaitingOrder
from stablequeue_hub.store.tables import orders, server_roots

UNTIL_MAX_S = 30 * 24 * 3600
ROOT_MAX = 64


class OrderRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order as it is given: the fields of ``wire.orders.Order`` without id and expiry."""

    kind: OrderKind
    root: str | None = None
    path: str | None = None
    mode: HashingOrder | None = None
    until_s: int | None = None


def check_order(request: OrderRequest) -> None:
    """Raises InvalidValueError when a field that this kind needs is missing, or a value out of range."""
    if request.kind == "hashing" and request.mode is None:
        raise InvalidValueError("An order 'hashing' needs a mode: now, later or pause.")
    if request.kind in ("accept_removals", "put_back") and not request.root:
        raise InvalidValueError(f"An order {request.kind!r} needs a root.")
    if request.kind == "put_back" and not request.path:
        raise InvalidValueError("An order 'put_back' needs a path.")
    if request.root is not None and len(request.root) > ROOT_MAX:
        raise InvalidValueError(f"root must have at most {ROOT_MAX} characters.")
    problem = wire_path_problem(request.path[: WIRE_PATH_MAX + 1]) if request.path is not None else None
    if problem:
        raise InvalidValueError(f"path is not valid: {problem}.")
    if request.until_s is not None and not 0 < request.until_s <= UNTIL_MAX_S:
        raise InvalidValueError(f"until_s must be 1 to {UNTIL_MAX_S} seconds.")


def add_order(
    connection: Connection, server_id: str, request: OrderRequest, *, actor: str, now_ms: int
) -> WaitingOrder:
    """Store an order. The caller has checked that the server exists.

    Raises InvalidValueError, and NotFoundError for a folder that the server never reported.
    """
    check_order(request)
    if request.root is not None:
        _check_root(connection, server_id, request.root)
    last = connection.scalar(sa.select(sa.func.max(orders.c.id))) or 0
    order_id = max(now_ms, last + 1)
    expires_ms = now_ms + ORDER_TTL_S * 1000
    connection.execute(
        orders.insert().values(
            id=order_id,
            server_id=server_id,
            kind=request.kind,
            arguments_json=msgspec.json.encode(request).decode(),
            actor=actor,
            created_ms=now_ms,
            expires_ms=expires_ms,
        )
    )
    details = {"order_id": order_id, "kind": request.kind}
    events.append(connection, "order_given", actor, now_ms=now_ms, server_id=server_id, details=details)
    return WaitingOrder(_order(order_id, request), expires_ms)


def _check_root(connection: Connection, server_id: str, root_id: str) -> None:
    its = sa.and_(server_roots.c.server_id == server_id, server_roots.c.root_id == root_id)
    if connection.execute(sa.select(server_roots.c.root_id).where(its)).first() is None:
        raise NotFoundError(
            f"This server has no folder {root_id!r}.",
            remedy="Its entry in the list of servers names its roots.",
        )


def waiting_orders(connection: Connection, now_ms: int) -> Iterable[tuple[str, WaitingOrder]]:
    """(server_id, order) for all that have not expired, oldest first."""
    query = sa.select(orders).where(orders.c.expires_ms > now_ms).order_by(orders.c.id)
    for row in connection.execute(query):
        request = msgspec.json.decode(row.arguments_json, type=OrderRequest)
        yield row.server_id, WaitingOrder(_order(row.id, request), row.expires_ms)


def delete_orders(connection: Connection, server_id: str, up_to: int) -> None:
    """The server has taken over all orders up to this id."""
    connection.execute(orders.delete().where(orders.c.server_id == server_id, orders.c.id <= up_to))


def delete_expired(connection: Connection, now_ms: int) -> None:
    connection.execute(orders.delete().where(orders.c.expires_ms <= now_ms))


def _order(order_id: int, request: OrderRequest) -> Order:
    return Order(
        id=order_id,
        kind=request.kind,
        root=request.root,
        path=request.path,
        mode=request.mode,
        until_s=request.until_s,
    )
