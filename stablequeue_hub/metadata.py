"""Header metadata of models: once per content, from a server that the hub asked for it."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection


def want_metadata(connection: Connection, server_id: str) -> list[str]:
    """Up to 100 SHA256s of safetensors files that this server has ready and whose metadata nobody sent yet."""
    raise NotImplementedError


def store_metadata(
    connection: Connection, sha256: str, fields: Mapping[str, str], *, server_id: str, now_ms: int
) -> bool:
    """Keep allow-listed ``fields`` of a model. False when it already had metadata (nothing is changed).

    Raises ForbiddenError unless this server has the file ready, TooLargeError above 64 KiB.
    """
    raise NotImplementedError
