"""What the buttons of the page send (urlencoded forms), and the fragment that says what happened."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stablequeue_client.shared.errors import TooLargeError
from stablequeue_client.shared.views import values as v
from stablequeue_client.shared.views import views
from stablequeue_hub.actions.jobs import IDS_MAX
from stablequeue_hub.http.request_bodies import read_body

FORM_MAX_BYTES = 64 * 1024
FIELDS_MAX = IDS_MAX + 50


async def fields_of(request: Request, limit: int = FORM_MAX_BYTES) -> list[tuple[str, str]]:
    """The fields of a form, in order. Raises TooLargeError, SlowRequestError."""
    text = (await read_body(request, limit)).decode("utf-8", "replace")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise TooLargeError(f"A form must have at most {FIELDS_MAX} fields.") from None


def text_response(text: str, *, go: str | None = None) -> Response:
    """Return a notice with this text. ``go``: which view the script shows then."""
    return notice_response(v.Notice(text), go=go)


def notice_response(notice: v.Notice, *, go: str | None = None) -> Response:
    return HTMLResponse(views.notice(notice), headers={"X-StableQueue-Go": go} if go else None)
