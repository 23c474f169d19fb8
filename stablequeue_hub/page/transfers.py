"""Copies between servers as the value of their view. Reads only."""

from __future__ import annotations

from sqlalchemy import Connection

from stablequeue_client.shared.views.transfer_views import TransferLine, TransfersPage
from stablequeue_hub.transfers.rows import list_transfers
from stablequeue_hub.transfers.states import UNDER_WAY


def transfers_page(connection: Connection, *, may_change: bool) -> TransfersPage:
    """Copies under way first, then the latest that ended."""
    return TransfersPage(
        tuple(
            TransferLine(
                one,
                may_accept=may_change and one.state == "asked",
                may_cancel=may_change and one.state in UNDER_WAY,
            )
            for one in list_transfers(connection)
        )
    )
