"""What the owners of servers allow in copies of models, as their agents say. Nothing, where nobody said."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from stablequeue_client.shared.wire.transfers import TransferPolicy
from stablequeue_hub.errors import unknown_server
from stablequeue_hub.events import events
from stablequeue_hub.store.prepared import Prepared
from stablequeue_hub.store.tables import servers

NOTHING = TransferPolicy()
_POLICIES = Prepared(
    sa.select(servers.c.server_id, servers.c.transfer_policy_json).where(
        servers.c.transfer_policy_json.is_not(None)
    )
)


def store_policy(connection: Connection, server_id: str, policy: TransferPolicy, *, now_ms: int) -> bool:
    """Keep it in place of the one before, with an event; False when it is the same. Raises NotFoundError."""
    stored = sa.select(servers.c.transfer_policy_json).where(servers.c.server_id == server_id)
    row = connection.execute(stored).first()
    if row is None:
        raise unknown_server(server_id)
    text = msgspec.json.encode(policy).decode()
    if row.transfer_policy_json == text:
        return False
    connection.execute(
        servers.update().where(servers.c.server_id == server_id).values(transfer_policy_json=text)
    )
    events.append(
        connection,
        "transfer_policy_changed",
        f"server:{server_id}",
        now_ms=now_ms,
        server_id=server_id,
        details={"receive": policy.receive, "hand_out": policy.hand_out},
    )
    return True


def transfer_policies(connection: Connection) -> dict[str, TransferPolicy]:
    """By server, of those that said one."""
    return {
        server_id: msgspec.json.decode(text, type=TransferPolicy)
        for server_id, text in _POLICIES.all(connection, {})
    }
