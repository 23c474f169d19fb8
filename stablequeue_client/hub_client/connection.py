"""One hub, asked over HTTP: what a request sends, how an answer is read, and what its failures are called.

Nothing waits for ever, and the key goes to the hub only: redirects are never followed, neither ``.netrc`` nor
proxies of the environment are used (both would show the key to somebody else), TLS is always verified, and
an answer is read up to a size and a time. Every failure is a ``StableQueueError``: the hub's own as it named
it, else ``HubUnreachableError``, ``GatewayError`` or ``NotAHubError``. A wait that the hub asked for stands
as seconds in ``details["retry_after_s"]``. A body that a proxy could find too large goes in pieces.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3

from stablequeue_client import __version__
from stablequeue_client.shared.errors import (
    GatewayError,
    HubUnreachableError,
    InvalidValueError,
    NotAHubError,
    StableQueueError,
    error_from_wire,
)
from stablequeue_client.shared.wire.inventory import Health
from stablequeue_client.shared.wire.pieces import BODY_HEADER, PIECE_BYTES, PIECE_MIN_BYTES

Json = dict[str, Any]
"""A JSON object as the hub sent it; its fields are described at the hub's ``/docs``."""

ANSWER_MAX_BYTES = 32 * 1024 * 1024
RETRY_AFTER_MAX_S = 3_600.0
RETRY_AFTER = "retry_after_s"
"""Key in an error's ``details``: seconds the hub asked us to wait."""

HTTP_STATUS = "http_status"
"""Key in the ``details`` of an error that an answer of somebody else than the hub caused."""

GATEWAY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 531)})
"""Without the hub's JSON a proxy speaks: it cannot reach the hub, waits no longer, or asks for patience."""
PIECE_TRIES = 4
PIECE_WAIT_MAX_S = 10.0

_CHUNK = 64 * 1024
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Timeouts:
    """Seconds. ``read`` is the longest silence, ``total`` the longest time of one answer."""

    connect: float = 5.0
    read: float = 15.0
    sync: float = 60.0
    total: float = 120.0


class _Bearer(requests.auth.AuthBase):
    """The key as a header; an auth object, because requests lets ``.netrc`` replace a plain header."""

    def __init__(self, key: str) -> None:
        self._header = f"Bearer {key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class HubConnection:
    """One hub, one key, one connection. Not for several threads at a time: make one for each."""

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        ca_file: str | None = None,
        session: requests.Session | None = None,
        timeouts: Timeouts = Timeouts(),
        now: Callable[[], float] = time.time,
    ) -> None:
        """``ca_file``: a PEM file of the authorities to trust instead of the usual ones.

        Raises InvalidValueError when ``base_url`` is no http(s) address or the key holds odd characters.
        """
        self.base_url = checked_base_url(base_url)
        self._auth = _Bearer(_checked_key(key)) if key else None
        self._timeouts = timeouts
        self._now = now
        self._piece_bytes = PIECE_BYTES
        self.last_etag: str | None = None
        self._session = session or requests.Session()
        self._session.trust_env = False
        self._session.verify = ca_file or True
        self._session.headers["User-Agent"] = f"stablequeue/{__version__}"

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._session.close()

    def _typed(self, method: str, path: str, form: type[Answer], **options: Any) -> Answer:
        body, described = self._call(method, path, **options)
        return decoded(body, form, described)

    def _object(self, method: str, path: str, **options: Any) -> Json:
        return self._typed(method, path, Json, **options)

    def _array(self, method: str, path: str, **options: Any) -> list[Json]:
        return self._typed(method, path, list[Json], **options)

    def _call(self, method: str, path: str, **options: Any) -> tuple[bytes, str]:
        """The body of a 2xx answer, and a description of the answer for a message about it."""
        response, content = self._exchange(method, path, **options)
        return content, self._checked(response, content)

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        between: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> tuple[requests.Response, bytes]:
        """One request and its answer, of whatever status. ``between``: called after each piece of a body that
        has to go in pieces. Raises HubUnreachableError."""
        if body is None or len(body) <= self._piece_bytes:
            answer = self._request(method, path, body=body, headers=headers, **options)
            if body is None or not _too_large_for_proxy(*answer) or not self._halve_pieces(len(body)):
                return answer
        if not self._hub_takes_pieces():
            return self._request(method, path, body=body, headers=headers, **options)
        body_id = secrets.token_hex(16)
        refused = self._send_pieces(body_id, body, between)
        if refused is not None:
            return refused
        headers = {**(headers or {}), BODY_HEADER: body_id}
        return self._request(method, path, body=b"", headers=headers, **options)

    def _hub_takes_pieces(self) -> bool:
        """Asked each time: an old hub may be updated meanwhile, and large bodies are rare."""
        response, content = self._request("GET", "/healthz", auth=False)
        try:
            return response.ok and msgspec.json.decode(content, type=Health).bodies_in_pieces
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    def _halve_pieces(self, refused: int) -> bool:
        """Send less at once from now on; False when that would be too little to be the cause."""
        if refused <= PIECE_MIN_BYTES:
            return False
        self._piece_bytes = max(PIECE_MIN_BYTES, min(self._piece_bytes, refused) // 2)
        return True

    def _send_pieces(
        self, body_id: str, body: bytes, between: Callable[[], None]
    ) -> tuple[requests.Response, bytes] | None:
        """Bring ``body`` to the hub; the answer that ended it, when the hub does not have all of it."""
        sent = failed = 0
        while sent < len(body):
            piece = body[sent : sent + self._piece_bytes]
            response, content = self._request(
                "PUT",
                f"/api/v1/bodies/{body_id}",
                body=piece,
                params={"offset": sent, "total": len(body)},
                headers={"Content-Type": "application/octet-stream"},
                read_timeout=self._timeouts.sync,
            )
            if response.ok:
                sent, failed = sent + len(piece), 0
                between()
            elif _too_large_for_proxy(response, content) and self._halve_pieces(len(piece)):
                continue
            elif response.status_code in GATEWAY_STATUSES and failed < PIECE_TRIES:
                failed += 1
                asked = retry_after_s(response.headers.get("Retry-After"), self._now())
                time.sleep(min(failed if asked is None else asked, PIECE_WAIT_MAX_S))
            else:
                return response, content
        return None

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str | int | None] | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: bool = True,
        read_timeout: float | None = None,
        max_bytes: int = ANSWER_MAX_BYTES,
    ) -> tuple[requests.Response, bytes]:
        """One request and its answer, of whatever status. Raises HubUnreachableError."""
        content_type = {} if body is None else {"Content-Type": "application/json"}
        deadline = time.monotonic() + self._timeouts.total
        try:
            response = self._session.request(
                method,
                self.base_url + path,
                data=body,
                params={k: v for k, v in (params or {}).items() if v is not None},
                headers={**content_type, **(headers or {})},
                auth=self._auth if auth else _no_auth,
                timeout=(self._timeouts.connect, read_timeout or self._timeouts.read),
                allow_redirects=False,
                stream=True,
            )
            with response:
                return response, _read(response, deadline, max_bytes)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
            raise HubUnreachableError(f"The hub at {self.base_url} does not answer: {_cause(exc)}.") from None

    def _checked(self, response: requests.Response, content: bytes) -> str:
        """The description of a 2xx answer; any other raises its error."""
        described = self._described(response, content)
        if not response.ok or 300 <= response.status_code < 400:
            raise self._error(response, content, described)
        return described

    def _described(self, response: requests.Response, content: bytes) -> str:
        return f"{self.base_url} is not a hub: it answered {_answer_words(response, content)}."

    def _error(self, response: requests.Response, content: bytes, described: str) -> StableQueueError:
        error: StableQueueError
        details = {HTTP_STATUS: response.status_code}
        if 300 <= response.status_code < 400:
            target = first_words(response.headers.get("Location", "nowhere"))
            error = NotAHubError(
                f"{self.base_url} sends on to {target}; that is not followed, to keep the key here.",
                remedy="Give the address of the hub itself.",
            )
        else:
            error = _wire_error(content) or (
                GatewayError(
                    f"A proxy answers in the place of the hub at {self.base_url}: "
                    f"{_answer_words(response, content)}.",
                    details=details,
                )
                if response.status_code in GATEWAY_STATUSES
                else NotAHubError(described, details=details)
            )
        wait = retry_after_s(response.headers.get("Retry-After"), self._now())
        if wait is not None:
            error.details[RETRY_AFTER] = wait
        return error


def _answer_words(response: requests.Response, content: bytes) -> str:
    kind = first_words(response.headers.get("Content-Type", "no content type"))
    text = first_words(content[:400].decode("utf-8", "replace"))
    return f"{response.status_code}, {kind}: {text!r}"


def _too_large_for_proxy(response: requests.Response, content: bytes) -> bool:
    """Somebody on the way refuses the size, not the hub."""
    return response.status_code == 413 and _wire_error(content) is None


_USER = re.compile(r"//.*@", re.DOTALL)
"""What stands before the host may be a password."""


def checked_base_url(text: str) -> str:
    """``text`` as ``scheme://host[:port][/path]`` without a final slash; raises InvalidValueError."""
    url = text.strip()
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise InvalidValueError(
            f"{first_words(_USER.sub('//***@', text))!r} is not a hub address.",
            remedy="Give it as http://HOST:PORT, without user or query.",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header of seconds or of an HTTP date; at most one hour."""
    if header is None:
        return None
    text = header.strip()
    if text.isdigit():
        wait = float(text[:12])
    else:
        try:
            wait = parsedate_to_datetime(text).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(wait, 0.0), RETRY_AFTER_MAX_S)


def _checked_key(key: str) -> str:
    if not re.fullmatch(r"[!-~]{1,512}", key):
        raise InvalidValueError("The key holds a space or another character that no key has.")
    return key


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def decoded(content: bytes, form: type[Answer], described: str) -> Answer:
    """The answer as ``form``; fields that only a newer hub has are left out. Raises NotAHubError."""
    try:
        return msgspec.json.decode(content, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise NotAHubError(f"{described} ({exc})") from None


def _read(response: requests.Response, deadline: float, max_bytes: int) -> bytes:
    """The body, decompressed, up to ``max_bytes`` and the deadline."""
    parts: list[bytes] = []
    size = 0
    for part in _pieces(response):
        size += len(part)
        if size > max_bytes:
            raise ValueError(f"its answer is larger than {max_bytes >> 20} MiB")
        if time.monotonic() > deadline:
            raise ValueError("its answer takes too long")
        parts.append(part)
    return b"".join(parts)


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes: a full piece is not waited for, so that a byte now and then cannot hold us up."""
    read1 = getattr(response.raw, "read1", None)  # urllib3 2; before, small pieces come near to it
    if read1 is None:
        yield from response.iter_content(1024)
        return
    while part := read1(_CHUNK, decode_content=True):
        yield part


def _wire_error(content: bytes) -> StableQueueError | None:
    try:
        error = json.loads(content)["error"]
        return error_from_wire(error) if isinstance(error, dict) and error.get("code") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _cause(exc: BaseException) -> str:
    """One plain phrase for a network failure, without the long chain of wrapped exceptions."""
    if isinstance(exc, requests.exceptions.SSLError):
        return f"its certificate is not trusted ({first_words(str(exc), 200)})"
    if isinstance(exc, requests.exceptions.ConnectTimeout):
        return "no connection within the time limit"
    if isinstance(exc, requests.exceptions.Timeout):
        return "no answer within the time limit"
    text = str(exc)
    for sign, phrase in (
        ("refused", "connection refused"),
        ("resolve", "the name is not known"),
        ("unreachable", "the network is not reachable"),
        ("timed out", "no answer within the time limit"),
    ):
        if sign in text:
            return phrase
    return first_words(text, 160) or type(exc).__name__


def first_words(text: str, limit: int = 80) -> str:
    """The first words of something a stranger sent: one line, printable, at most ``limit`` characters."""
    plain = "".join(c if c.isprintable() else " " for c in text[: limit * 5])
    return " ".join(plain.split())[:limit]
