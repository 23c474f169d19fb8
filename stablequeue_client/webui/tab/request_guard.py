"""Who may ask the extension's routes. Pure: it judges a method and headers, and knows no request.

Three things, each of which a browser cannot be tricked out of: the token (a header, so no form and no foreign
page can send it), the name by which the WebUI was called (a foreign name may have been made to point here),
and the page that the request comes from.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stablequeue_client.shared.errors import ForbiddenError
from stablequeue_client.shared.host_names import FurtherNames, host_name, is_address, machine_names

TOKEN_HEADER = "x-stablequeue-token"  # noqa: S105 - the header's name
LOCAL_NAMES = frozenset({"localhost"})
Headers = Iterable[tuple[str, str]]


class ForeignRequestError(ForbiddenError):
    """The request does not come from this WebUI's own page."""

    code = "foreign_request"


@dataclass(frozen=True)
class RequestGuard:
    """``allowed_hosts``: the further names of this WebUI that its owner set, asked at each request."""

    token: str
    allowed_hosts: Callable[[], Iterable[str]]

    def knows(self, headers: Headers) -> bool:
        """The request carries the token, once."""
        given = _all(headers, TOKEN_HEADER)
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self.token.encode())

    def check(self, method: str, headers: Headers) -> None:
        """Raises ForeignRequestError unless host, origin and site are this WebUI's own."""
        headers = list(headers)
        self.check_host(headers)
        host = _all(headers, "host")[0].strip().lower()
        for origin in _all(headers, "origin"):
            called = [host, *_all(headers, "x-forwarded-host")]
            if not self._own_origin(origin.strip().lower(), called):
                raise ForeignRequestError("The request came from a page of another origin.")
        if method not in ("GET", "HEAD") or _all(headers, "origin"):
            _check_site(headers)

    def check_host(self, headers: Headers) -> None:
        """Raises ForeignRequestError unless the WebUI was called by an address or a name of its own."""
        hosts = _all(headers, "host")
        if len(hosts) == 1 and self._own_name(host_name(hosts[0])):
            return
        name = host_name(hosts[0]) if len(hosts) == 1 else ""
        raise ForeignRequestError(
            f"StableQueue does not know this name as one of this WebUI's own: {name[:100] or 'none'}.",
            remedy=(
                "If the name is yours, add it in Settings > StableQueue, under the names by which this WebUI "
                "is reached, or open the WebUI by its IP address."
            ),
        )

    def _own_name(self, name: str) -> bool:
        # An address can be had by nobody else: only names can be made to point elsewhere.
        if not name or is_address(name) or name in LOCAL_NAMES | machine_names():
            return bool(name)
        return name in FurtherNames.of(self.allowed_hosts())

    def _own_origin(self, origin: str, called: list[str]) -> bool:
        if origin in (f"http://{called[0]}", f"https://{called[0]}"):
            return True
        return FurtherNames.of(self.allowed_hosts()).trust_origin(origin, called)


def _check_site(headers: Headers) -> None:
    if any(site.lower() not in ("same-origin", "none") for site in _all(headers, "sec-fetch-site")):
        raise ForeignRequestError("The request came from a page of another site.")


def _all(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]
