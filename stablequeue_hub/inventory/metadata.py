"""Header metadata of models: once per content, from a server that the hub asked for it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.errors import ForbiddenError, TooLargeError
from stablequeue_client.shared.model_files.model_file import search_key
from stablequeue_client.shared.model_files.safetensors_header import (
    METADATA_MAX_BYTES,
    allowed_metadata,
    base_model,
)
from stablequeue_client.shared.wire.inventory import WANT_METADATA_MAX
from stablequeue_hub.events import events
from stablequeue_hub.store.tables import models, server_files

OUTPUT_NAME = "ss_output_name"
"""The field with the name under which WebUIs find a LoRA besides its file's."""
_READY_HERE = (
    sa.exists()
    .where(
        server_files.c.model_id == models.c.id,
        server_files.c.server_id == sa.bindparam("server_id"),
        server_files.c.path.like("%.safetensors"),
    )
    .correlate(models)
)
_WANTED = (
    sa.select(models.c.hash_sha256)
    .where(models.c.metadata_json.is_(None), models.c.hash_sha256.is_not(None), _READY_HERE)
    .limit(WANT_METADATA_MAX)
)


def want_metadata(connection: Connection, server_id: str) -> list[str]:
    """Up to 100 SHA256s of safetensors files that this server has ready and whose metadata nobody sent."""
    return [str(sha256) for sha256 in connection.scalars(_WANTED, {"server_id": server_id})]


def store_metadata(
    connection: Connection, sha256: str, fields: Mapping[str, str], *, server_id: str, now_ms: int
) -> bool:
    """Keep the allow-listed ones of ``fields``. False when the model had metadata already: nothing changes.

    Raises ForbiddenError unless this server has the file ready, TooLargeError above 64 KiB.
    """
    query = sa.select(models.c.id, models.c.metadata_json, models.c.base_model).where(
        models.c.hash_sha256 == sha256.lower(), _READY_HERE
    )
    model = connection.execute(query, {"server_id": server_id}).first()
    if model is None:
        raise ForbiddenError(
            f"The hub did not ask this server for the metadata of {sha256[:12]}.",
            remedy="Send metadata only for the SHA256s that the answer to a sync lists.",
        )
    if model.metadata_json is not None:
        return False
    allowed = allowed_metadata({str(name): str(value) for name, value in fields.items()})
    text = json.dumps({name: value.replace("\x00", "") for name, value in sorted(allowed.items())})
    if len(text) > METADATA_MAX_BYTES:
        raise TooLargeError(f"The metadata of one model is at most {METADATA_MAX_BYTES >> 10} KiB.")
    connection.execute(
        models.update()
        .where(models.c.id == model.id)
        .values(
            metadata_json=text,
            base_model=model.base_model or base_model(allowed),
            output_key=search_key(allowed.get(OUTPUT_NAME, "")) or None,
        )
    )
    events.append(
        connection,
        "metadata_received",
        f"server:{server_id}",
        now_ms=now_ms,
        server_id=server_id,
        model_id=model.id,
    )
    return True
