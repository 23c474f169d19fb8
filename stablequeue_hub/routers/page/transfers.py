"""What the buttons of the view of copies do."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_hub.actions.transfers import accept_transfer, cancel_transfer
from stablequeue_hub.http.openapi import described
from stablequeue_hub.http.request_context import hub_of, principal_of
from stablequeue_hub.page.forms import text_response

router = APIRouter(include_in_schema=False)


@router.post("/views/transfers/{transfer_id}/accept", **described("admin", media_type="text/html"))
async def accept(request: Request, transfer_id: str) -> Response:
    """Let a copy begin that waits for a person."""
    await accept_transfer(hub_of(request), principal_of(request), _number(transfer_id))
    return text_response("Accepted. It begins within 10 seconds.")


@router.post("/views/transfers/{transfer_id}/cancel", **described("admin", media_type="text/html"))
async def cancel(request: Request, transfer_id: str) -> Response:
    """End a copy."""
    await cancel_transfer(hub_of(request), principal_of(request), _number(transfer_id))
    return text_response("Cancelled.")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise InvalidValueError("There is no such copy.", remedy="Reload the page.")
    return int(text)
