"""The wire contract of large bodies, which go to the hub in pieces: a proxy may take only small ones.

``PUT /api/v1/bodies/{body_id}?offset=N&total=T`` brings one piece as it is; the next one begins where it
ended. A piece may be sent again. Then the request itself follows with an empty body and ``BODY_HEADER:
body_id``: the hub puts the stored one in its place, for the key that sent it and once. Pure.
"""

from __future__ import annotations

import msgspec

BODY_HEADER = "X-StableQueue-Body"
BODY_ID_PATTERN = r"^[0-9a-f]{32}$"
PIECE_BYTES = 768 * 1024
"""nginx takes 1 MiB unless it is told otherwise."""
PIECE_MIN_BYTES = 16 * 1024
"""A proxy that refuses even this much lets nothing through."""
PIECE_MAX_BYTES = 4 * 1024 * 1024
BODY_MAX_BYTES = 64 * 1024 * 1024
"""Of all pieces together: the largest picture, job or inventory."""


class BodyReceived(msgspec.Struct, frozen=True):
    """How many bytes of the body the hub has, from its beginning."""

    received: int
