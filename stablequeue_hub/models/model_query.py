"""What the text that a person typed, or a path parameter, asks for. Pure.

One to seven decimal digits are a row id; 8, 10, 12 or 64 hex digits (any case, with or without ``0x``) a
hash; anything else is a name or path. Equality of models is the full SHA256: shorter hashes and names only
*find* models, possibly several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stablequeue_client.shared.model_files.model_file import (
    SHA256_OF_NOTHING,
    HashQuery,
    Kind,
    normalize_hash,
    parse_hash,
    search_key,
    stem_key,
)

_ROW_ID = re.compile(r"[0-9]{1,7}")


@dataclass(frozen=True)
class RowIdQuery:
    """A row of the table ``models``."""

    row_id: int


@dataclass(frozen=True)
class NameQuery:
    """A name or path: ``key`` as it stands, ``stem`` without folder and extension. Both ready to compare."""

    key: str
    stem: str


@dataclass(frozen=True)
class NamedModel:
    """A name that is meant as one, whatever it looks like, of a model of this kind."""

    name: str
    kind: Kind


ModelQuery = RowIdQuery | HashQuery | NameQuery


def parse_query(text: str) -> ModelQuery:
    """Parse ``text``. A hash that matches nothing may still be meant as a name: ``name_query``."""
    stripped = text.strip()
    if _ROW_ID.fullmatch(stripped):
        return RowIdQuery(int(stripped))
    return parse_hash(stripped) or name_query(stripped)


def is_hash_of_nothing(text: str) -> bool:
    """A short hash over no bytes: AutoV1 of every file below 1 MiB, AutoV3 of a header without tensors."""
    return normalize_hash(text) in (SHA256_OF_NOTHING[:8], SHA256_OF_NOTHING[:12])


def name_query(text: str) -> NameQuery:
    """``text`` as a name or path; ``\\`` counts as ``/`` unless it starts a wire path's ``\\xHH``."""
    path = re.sub(r"\\(?!x[0-9A-Fa-f]{2})", "/", text.strip()).strip("/")
    return NameQuery(search_key(path), stem_key(path))
