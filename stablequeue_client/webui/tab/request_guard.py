"""Who may ask the extension's routes. Pure: it judges a method and headers, and knows no request.

Three things, each of which a browser cannot be tricked out of: the token (a header, so no form and no foreign
page can send it), the name by which the WebUI was called (a foreign name may have been made to point here),
and the page that the request comes from.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from stablequeue_client.shared.errors import ForbiddenError

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
            if not self._own_origin(origin.strip().lower(), host):
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
        return bool(name) and (is_address(name) or name in LOCAL_NAMES | machine_names() | self._further())

    def _own_origin(self, origin: str, host: str) -> bool:
        if origin in (f"http://{host}", f"https://{host}"):
            return True
        # A reverse proxy may call us by another name than the browser calls it: then its owner named it.
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and host_name(parts.netloc) in self._further()

    def _further(self) -> frozenset[str]:
        return frozenset(host_name(name) for name in self.allowed_hosts()) - {""}


def machine_names() -> frozenset[str]:
    """The computer's own name, also as mDNS has it; asks no name server."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.split(".", 1)[0]
    return frozenset({name, short, f"{short}.local"}) - {"", ".local"}


def host_name(host: str) -> str:
    """The name in a Host header: lower case, without port, brackets and a final dot; "" when malformed."""
    host = host.strip().lower()
    if any(sign in host for sign in "/\\@?#, \t\x00"):
        return ""
    if host.startswith("["):
        name, closed, rest = host[1:].partition("]")
        return name if closed and (not rest or rest[0] == ":") else ""
    name, _, port = host.partition(":") if host.count(":") == 1 else (host, "", "")
    return name.rstrip(".") if not port or port.isdigit() else ""


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_site(headers: Headers) -> None:
    if any(site.lower() not in ("same-origin", "none") for site in _all(headers, "sec-fetch-site")):
        raise ForeignRequestError("The request came from a page of another site.")


def _all(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]
