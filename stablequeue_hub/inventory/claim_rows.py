"""What claims on files that are not ready point at: "probably this model".

A claim points at a model when exactly one has that digest. It is looked at again whenever models appear or
learn digests, so a claim finds its model later, and lets go when a short hash turns out to mean two.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.inventory.availability_rows import Affected
from stablequeue_hub.store.bulk import change_rows, slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import models, server_files

_COLUMNS = {
    "sha256": models.c.hash_sha256,
    "blake3": models.c.hash_blake3,
    "autov3": models.c.hash_autov3,
    "autov2": models.c.hash_autov2,
    "autov1": models.c.hash_autov1,
}
_MODELS_OF = {
    digest: Prepared(
        sa.select(column, models.c.id).where(in_list(column, "values"), models.c.hash_sha256.is_not(None))
    )
    for digest, column in _COLUMNS.items()
}
_CLAIMS_OF_MODELS = Prepared(
    sa.select(server_files.c.claim)
    .distinct()
    .select_from(
        sa.join(
            models,
            server_files,
            sa.or_(*(server_files.c.claim == sa.literal(f"{name}:") + col for name, col in _COLUMNS.items())),
        )
    )
    .where(in_list(models.c.id, "ids"), server_files.c.claim.is_not(None))
)
_ROWS_WITH_CLAIM = Prepared(
    sa.select(
        server_files.c.server_id,
        server_files.c.root_id,
        server_files.c.path,
        server_files.c.claim,
        server_files.c.claimed_model_id,
    ).where(in_list(server_files.c.claim, "claims"))
)
_ANY_CLAIM = sa.select(sa.literal(1)).where(server_files.c.claim.is_not(None)).limit(1)


def resolve_claims(connection: Connection, claims: Collection[str]) -> dict[str, int]:
    """The model id that each claim (``<digest>:<value>``) points at; those that mean none or several lack."""
    by_digest: dict[str, list[str]] = {}
    for claim in sorted(claims):
        digest, _, value = claim.partition(":")
        by_digest.setdefault(digest, []).append(value)
    found: dict[str, set[int]] = {}
    for digest, values in by_digest.items():
        for part in slices(values):
            for value, model_id in _MODELS_OF[digest].all(connection, {"values": part}):
                found.setdefault(f"{digest}:{value}", set()).add(model_id)
    return {claim: ids.pop() for claim, ids in found.items() if len(ids) == 1}


def connect_claims(connection: Connection, model_ids: Sequence[int], affected: Affected) -> None:
    """Look again at every claim, on any server, that may mean one of these models (new, or with new
    digests); the (server, model) pairs whose availability may differ now are added to ``affected``."""
    if not model_ids or connection.execute(_ANY_CLAIM).first() is None:
        return
    claims: set[str] = set()
    for part in slices(sorted(model_ids)):
        claims.update(row[0] for row in _CLAIMS_OF_MODELS.all(connection, {"ids": part}))
    targets = resolve_claims(connection, claims)
    changed = []
    for part_of_claims in slices(sorted(claims)):
        for server_id, root, path, claim, old in _ROWS_WITH_CLAIM.all(connection, {"claims": part_of_claims}):
            new = targets.get(claim)
            if new != old:
                changed.append((new, server_id, root, path))
                pair = {model_id for model_id in (old, new) if model_id is not None}
                affected.setdefault(server_id, set()).update(pair)
    sql = "UPDATE server_files SET claimed_model_id = ? WHERE server_id = ? AND root_id = ? AND path = ?"
    change_rows(connection, sql, changed)
