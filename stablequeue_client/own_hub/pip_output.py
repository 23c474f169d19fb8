"""What pip (or uv) prints: progress for people, and the cause when it fails. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stablequeue_client.own_hub.errors import BuildError

EXPECTED_PACKAGES = 32
"""About how many a hub needs; only the progress bar depends on it."""
FETCHED = 80
INSTALLING = 85
_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)"
_COLLECTING = re.compile(rf"^(?:Collecting |Processing .*[/\\\\]){_NAME}")
_DOWNLOADING = re.compile(rf"^\s*Downloading {_NAME}.*?\(([^)]+)\)")
_INSTALLING = re.compile(r"^Installing collected packages: (.+)$")


@dataclass
class PipProgress:
    """How far it is, 0 to ``INSTALLING`` out of 100; never goes back."""

    packages: int = 0
    percent: int = 0
    words: str = "Looking for the packages"

    def take(self, line: str) -> None:
        """Take up one line of output."""
        collecting, downloading = _COLLECTING.match(line), _DOWNLOADING.match(line)
        installing = _INSTALLING.match(line)
        if collecting:
            self.packages += 1
            self.percent = max(self.percent, min(FETCHED, FETCHED * self.packages // EXPECTED_PACKAGES))
            self.words = f"Fetching {_package(collecting[1])}"
        elif downloading:
            self.words = f"Fetching {_package(downloading[1])} ({downloading[2]})"
        elif installing:
            self.percent = INSTALLING
            self.words = f"Unpacking {len(installing[1].split(','))} packages"


def _package(name: str) -> str:
    """The package's name in the name of a wheel, or as it stands in a requirement."""
    return name.split("-")[0] if name.endswith((".whl", ".gz", ".metadata")) else name


_NO_NETWORK = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "name resolution",
    "getaddrinfo failed",
    "Network is unreachable",
    "ConnectTimeoutError",
    "Read timed out",
    "ProxyError",
    "dns error",
    "client error (Connect)",
)
_CAUSES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("No space left on device", "[Errno 28]", "[WinError 112]", "os error 28"),
        "The disk is full, so the hub's packages could not be stored.",
        "Free about 300 MB on the disk of {folder}, then press the button again.",
    ),
    (
        ("No module named pip", "No module named 'pip'"),
        "This WebUI's Python has no pip, which fetches the hub's packages.",
        "Run `python -m ensurepip` with the WebUI's Python, or install uv, then press the button again.",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "SSLError"),
        "The package server's certificate is not trusted, so no package was fetched.",
        "Check this computer's clock, and whether a proxy needs its certificate (pip's setting `cert`).",
    ),
    (
        _NO_NETWORK,
        "The package server cannot be reached, so the hub's packages could not be fetched.",
        "Check the internet connection (or pip's proxy and index settings), then press the button again.",
    ),
    (
        ("Permission denied", "[Errno 13]", "[WinError 5]", "Access is denied"),
        "The hub's packages could not be stored: access was denied.",
        "Make sure that this user may write to {folder} and that no virus scanner holds it back.",
    ),
    (
        ("No matching distribution found", "No solution found", "requires a different Python"),
        "No versions of the hub's packages fit this Python.",
        "The hub needs Python 3.10 or newer. It can also run elsewhere: `stablequeue hub` on any computer.",
    ),
)


def build_error(lines: Sequence[str], folder: str) -> BuildError:
    """The failure that this output describes. ``folder``: where the packages were to go."""
    text = "\n".join(lines)
    for signs, message, remedy in _CAUSES:
        if any(sign in text for sign in signs):
            return BuildError(message, remedy=remedy.format(folder=folder))
    told = [line.strip() for line in lines if line.strip()]
    errors = [line for line in told if line.lower().startswith("error")]
    last = (errors or told or ["it printed nothing"])[-1][:300]
    return BuildError(
        f"The hub's packages could not be fetched: {last}",
        remedy="Press the button again; if this stays, the rest is in logs/hub-build.log of the data folder.",
    )
