"""Where the hub listens: on this computer only, until its owner says "reachable from my network".

The choice is stored and counts now and at later starts. Creating keys changes nothing in it.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Protocol

import psutil
from sqlalchemy import Connection

from stablequeue_hub.settings import LOOPBACK
from stablequeue_hub.store.hub_settings_table import LISTEN_HOST, get_setting

EVERYWHERE = "0.0.0.0"  # noqa: S104 - only when the owner says so


class Listener(Protocol):
    """The running server's socket, as far as it can be moved."""

    @property
    def host(self) -> str: ...

    async def listen_on(self, host: str) -> None:
        """Listen there from now on instead. Raises PortTakenError, and then listens as before."""
        ...


@dataclass(frozen=True)
class NetworkInfo:
    """``addresses``: those of this computer under which others reach the hub (or would, when it listens)."""

    reachable: bool
    host: str
    port: int
    addresses: tuple[str, ...]


def is_loopback(host: str) -> bool:
    """Only this computer can connect to it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def network_info(host: str, port: int) -> NetworkInfo:
    return NetworkInfo(not is_loopback(host), host, port, machine_addresses(host))


def machine_addresses(host: str = EVERYWHERE) -> tuple[str, ...]:
    """This computer's IPv4 addresses in the network, private ones first; ``host`` alone when that is one."""
    if host not in (EVERYWHERE, "::") and not is_loopback(host):
        return (host,)
    found = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    usable = [ip for ip in map(ipaddress.IPv4Address, found) if not (ip.is_loopback or ip.is_link_local)]
    return tuple(str(ip) for ip in sorted(usable, key=lambda ip: (not ip.is_private, ip)))


def chosen_host(connection: Connection) -> str:
    """The host to listen on as its owner chose it, else this computer only."""
    return get_setting(connection, LISTEN_HOST) or LOOPBACK
