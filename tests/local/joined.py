"""A server that joined a real hub and told it what its index holds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import Identity, new_identity, store_identity
from stablequeue_client.index.index import Index
from stablequeue_client.index.inventory import sync_request
from stablequeue_client.shared.wire.inventory import Heartbeat, JoinRequest, digest_hex

from ..agent.real_hub import RealHub


def join(hub: RealHub, server_dir: Path, alias: str) -> Identity:
    """Join as a WebUI does; ``server.json`` lies in ``server_dir`` then."""
    identity = new_identity(alias, hub.url)
    answer = HubApi(hub.url, hub.join_key()).join(
        JoinRequest(identity.server_id, identity.secret, alias, "1")
    )
    identity = msgspec.structs.replace(identity, alias=answer.alias, hub_id=answer.hub_id)
    store_identity(server_dir, identity)
    return identity


def tell(identity: Identity, index: Index, *, counter: int = 1) -> None:
    """Send the whole inventory and a heartbeat."""
    api = HubApi(identity.hub_url, identity.key)
    api.sync(identity.server_id, sync_request(index.full()))
    here = index.position()
    beat = Heartbeat(
        boot_id="0" * 32, boot_counter=counter, index_id=here.index_id, sequence=here.sequence,
        digest=digest_hex(here.digest),
    )  # fmt: skip
    api.heartbeat(identity.server_id, beat)
    api.close()
