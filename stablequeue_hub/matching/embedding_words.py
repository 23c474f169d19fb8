"""Which words of a prompt are embeddings. A WebUI takes a word for one where a file is called so, and for a
plain word elsewhere: so what counts is where the prompt was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.generation.infotext import HashMention
from stablequeue_hub.servers.known_servers import has_reported
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import models, server_files

WORD_MAX = 11
"""Letters of the longest name that may be an ordinary word ("masterpiece"), and no name that somebody gave
("easynegative")."""

_IDENTIFIED = (
    sa.select(server_files.c.name)
    .select_from(sa.join(models, server_files, server_files.c.model_id == models.c.id))
    .where(models.c.type == "embedding")
)
_OTHERS = sa.select(server_files.c.name).where(server_files.c.model_id.is_(None))
_OTHERWISE_KNOWN = sa.select(server_files.c.name).where(
    server_files.c.model_id.is_not(None), server_files.c.kind_differs == 1
)
"""Of models that lay in a folder of another kind first: for the WebUI here they are embeddings."""


def _names(*conditions: sa.ColumnElement[bool]) -> Prepared:
    lies = (server_files.c.kind == "embedding", server_files.c.rejected.is_(None), *conditions)
    return Prepared(_IDENTIFIED.where(*lies).union(_OTHERS.where(*lies), _OTHERWISE_KNOWN.where(*lies)))


_ANYWHERE = _names()
_ON_SERVER = _names(server_files.c.server_id == sa.bindparam("server_id"))


def embedding_names(
    connection: Connection, source_id: str | None, mentions: Sequence[HashMention] = ()
) -> list[str]:
    """Names that count as embeddings in a prompt that was written on ``source_id``: of files that lie there,
    read or not, and those that ``mentions`` state a hash for, so that a picture was made with them.

    None, where nobody says where it was written: names that lie anywhere now. A server that never told what
    it has, or was forgotten, counts as that, without words that may be ordinary ones.
    """
    stated = [one.name for one in mentions if one.role == "embedding"]
    if source_id is None:
        found: Iterable[str] = (name for (name,) in _ANYWHERE.all(connection, {}))
    elif not has_reported(connection, source_id):
        found = (name for (name,) in _ANYWHERE.all(connection, {}) if not may_be_a_word(name))
    else:
        found = (name for (name,) in _ON_SERVER.all(connection, {"server_id": source_id}))
    return list(dict.fromkeys([*found, *stated]))


def may_be_a_word(name: str) -> bool:
    """An ordinary word rather than an embedding: a few lower-case letters and nothing else."""
    return len(name) <= WORD_MAX and name.isalpha() and name == name.lower()
