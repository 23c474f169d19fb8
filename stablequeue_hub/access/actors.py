"""The names of actors: servers by alias, keys by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_hub.store.bulk import slices
from stablequeue_hub.store.prepared import Prepared, in_list
from stablequeue_hub.store.tables import keys, servers

_KEYS = Prepared(sa.select(keys.c.key_id, keys.c.name, keys.c.scope).where(in_list(keys.c.key_id, "ids")))
_SERVERS = Prepared(
    sa.select(servers.c.server_id, servers.c.alias).where(in_list(servers.c.server_id, "ids"))
)


def actor_names(
    connection: Connection, actors: Iterable[str], aliases: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Names of actors as events have them; of what is gone the beginning of its id. ``aliases``: of all
    servers, where they were read already."""
    wanted = set(actors)
    ids = {
        kind: [one.partition(":")[2] for one in wanted if one.startswith(f"{kind}:")]
        for kind in ("server", "key")
    }
    names = {"page": "this page", "hub": "the hub", "open": "anybody"}
    if aliases is not None:
        names.update({f"server:{one}": aliases[one] for one in ids["server"] if one in aliases})
    for part in slices(ids["server"] if aliases is None else ()):
        names.update({f"server:{one}": alias for one, alias in _SERVERS.all(connection, {"ids": part})})
    for part in slices(ids["key"]):
        for key_id, name, scope in _KEYS.all(connection, {"ids": part}):
            names[f"key:{key_id}"] = name or f"a key for {scope}"
    for one in wanted - names.keys():
        kind, _, ident = one.partition(":")
        names[one] = f"{kind} {ident[:8]}".strip()
    return names
