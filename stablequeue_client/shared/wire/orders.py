"""Orders: what an owner wants a server to do, on their way from the hub to its agent. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

ORDER_TTL_S = 600

OrderKind = Literal["rescan", "sync", "hashing", "accept_removals", "put_back"]
HashingOrder = Literal["now", "later", "pause"]


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something an owner wants a server to do. Which fields count depends on ``kind``.

    ``rescan``: every root, or ``root``. ``sync``: now. ``hashing``: ``mode`` now, later or pause (then
    ``until_s`` seconds from receipt). ``accept_removals``: ``root``. ``put_back``: ``root``, ``path``.
    """

    id: int
    kind: OrderKind
    expires_in_s: int = ORDER_TTL_S
    root: str | None = None
    path: str | None = None
    mode: HashingOrder | None = None
    until_s: int | None = None
