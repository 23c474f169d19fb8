"""Which ports a hub may take."""

from __future__ import annotations

import errno
import os
import socket

PORTS_TRIED = 50


def port_is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now. A host that is not ours counts as free: the hub says
    why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there the option would allow two listeners on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True
