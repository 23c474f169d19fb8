"""A port for a program that a test starts: free, and asked for by nobody else meanwhile.

A port that the system picks ("0") may be picked again for any connection before the program listens; ours lie
below those, and each of the test processes has its own range.
"""

from __future__ import annotations

import itertools
import os
import socket

_RANGE = 1_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_numbers = itertools.count(os.getpid() % _RANGE)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    for number in itertools.islice(_numbers, _RANGE):
        port = 20_000 + _WORKER % 12 * _RANGE + number % _RANGE
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("No port is free.")
