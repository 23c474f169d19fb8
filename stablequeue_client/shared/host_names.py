"""Names by which a program of ours is called: what stands in a Host header, and which of them are ours."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from stablequeue_client.shared.errors import UsageError


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


@dataclass(frozen=True)
class FurtherNames:
    """The names that an owner allowed: ``names`` as they are, ``domains`` (``.example``) with all below."""

    names: frozenset[str]
    domains: tuple[str, ...]

    @classmethod
    def of(cls, given: Iterable[str]) -> FurtherNames:
        """From what the owner wrote; what is no name is left out. ``*.example`` means all names below it."""
        found = {_plain(text) for text in given} - {""}
        domains = tuple(sorted(name[1:] for name in found if name.startswith("*.")))
        return cls(frozenset(name for name in found if "*" not in name), domains)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or name[:1] in ("", ".", "*"):
            return False
        return name in self.names or name.endswith(self.domains)

    def trust_origin(self, origin: str, called: Iterable[str]) -> bool:
        """Whether a page of ``origin`` is ours, though it is called otherwise: a proxy may tell us another
        name or port than the browser's. ``called``: the names in Host and X-Forwarded-Host; a name below an
        allowed domain must stand there, for others may have names below it too."""
        parts = urlsplit(origin)
        name = host_name(parts.netloc) if parts.scheme in ("http", "https") else ""
        return name in self.names or (name in self and name in {host_name(one) for one in called})


def checked_names(given: Iterable[str]) -> tuple[str, ...]:
    """``given`` as it is. Raises UsageError for what names no host, such as ``*`` alone."""
    names = tuple(given)
    for text in names:
        plain = _plain(text)
        domain = plain[2:] if plain.startswith("*.") else plain
        if not domain or "*" in domain:
            raise UsageError(
                f"{text[:100]!r} is not a name of a host.",
                remedy="Give a name such as hub.example, or *.example for all names below it.",
            )
    return names


def _plain(text: str) -> str:
    """A name as people write it, perhaps copied from the browser with scheme and path."""
    _, found, rest = text.strip().partition("://")
    return host_name((rest if found else text.strip()).partition("/")[0])
