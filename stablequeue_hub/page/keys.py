"""Keys, and the line that joins another computer, as the values of the views."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from sqlalchemy import Connection

from stablequeue_client.shared.errors import InvalidValueError
from stablequeue_client.shared.views import values as v
from stablequeue_hub.access.keys import CreatedKey, KeyInfo, list_keys
from stablequeue_hub.access.network import NetworkInfo

WORTHLESS_SHOWN_MS = 7 * 24 * 3_600_000
"""Revoked and expired keys leave the list after a week."""
FIELD_MAX = 1_000
# As the README has them; a test compares.
LINUX_INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q ."
WINDOWS_INSTALL = "py -m venv .venv; .venv\\Scripts\\pip install -q ."


def keys_page(connection: Connection, *, now_ms: int) -> v.KeysPage:
    """All keys, newest first, without those that have long been worthless."""
    lines = [_line(key, now_ms) for key in list_keys(connection)]
    return v.KeysPage(tuple(line for line in lines if not _long_worthless(line, now_ms)))


def _line(key: KeyInfo, now_ms: int) -> v.KeyLine:
    return v.KeyLine(
        key_id=key.key_id,
        name=key.name,
        scope=key.scope,
        created_ms=key.created_ms,
        server=key.server or "",
        last_used_ms=key.last_used_ms,
        expires_ms=key.expires_ms,
        revoked_ms=key.revoked_ms,
        expired=key.expires_ms is not None and key.expires_ms <= now_ms,
    )


def _long_worthless(line: v.KeyLine, now_ms: int) -> bool:
    ended = [at for at in (line.revoked_ms, line.expires_ms) if at is not None]
    return bool(ended) and min(ended) < now_ms - WORTHLESS_SHOWN_MS


def join_page(network: NetworkInfo) -> v.JoinPage:
    """The question, or the form for the line."""
    return v.JoinPage(network.reachable, addresses_of(network), network.port)


def addresses_of(network: NetworkInfo) -> tuple[str, ...]:
    """``http://...`` for each address under which others reach the hub."""
    return tuple(f"http://{_bracketed(address)}:{network.port}" for address in network.addresses)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class JoinTarget(NamedTuple):
    """What stands in the line beside the code. ``hub``: the hub's address."""

    hub: str
    port: int
    alias: str
    webui: str


def join_target(network: NetworkInfo, *, address: str, alias: str, webui: str) -> JoinTarget:
    """``address``: which of this computer's, "" the first.

    Raises InvalidValueError for an address that is not ours, and for what cannot stand in one line.
    """
    ours = addresses_of(network)
    if not ours:
        raise InvalidValueError(
            "This computer has no address in a network.", remedy="Connect it, then show the line again."
        )
    if address and address not in ours:
        raise InvalidValueError(
            "That is not an address of this computer.", remedy=f"Choose one of {', '.join(ours)}."
        )
    for text in (alias, webui):
        if not text.isprintable() or len(text) > FIELD_MAX:
            raise InvalidValueError(f"Name and folder must have at most {FIELD_MAX} printable characters.")
    return JoinTarget(address or ours[0], network.port, alias, webui)


def join_line(wanted: JoinTarget, code: CreatedKey) -> v.JoinLine:
    """Return the commands to run, or the line to paste, on the other computer."""
    words = ["agent", "--hub", wanted.hub, "--join", code.key]
    words += ["--alias", wanted.alias] if wanted.alias else []
    words += ["--webui", wanted.webui or "DIR"]
    linux = " ".join(map(shlex.quote, words))
    windows = " ".join(map(powershell_quote, words))
    commands = (
        v.CommandLine("Linux, macOS", LINUX_INSTALL, f".venv/bin/stablequeue {linux}"),
        v.CommandLine("Windows (PowerShell)", WINDOWS_INSTALL, f".venv\\Scripts\\stablequeue {windows}"),
    )
    return v.JoinLine(commands, code.expires_ms or 0, f"{wanted.hub} {code.key}", wanted.port)


def powershell_quote(word: str) -> str:
    """``word`` as PowerShell reads it back: as it is when harmless, else in single quotes, doubled inside.

    PowerShell takes typographic single quotes for quotes too.
    """
    if word and all(char.isascii() and (char.isalnum() or char in "-_./:\\") for char in word):
        return word
    doubled = "".join(char * 2 if char in "'\u2018\u2019\u201a\u201b" else char for char in word)
    return f"'{doubled}'"
