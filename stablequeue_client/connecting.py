"""How this WebUI joins a hub, and leaves it."""

from __future__ import annotations

from pathlib import Path

from stablequeue_client.agent.identity import Identity


def parse_join_text(text: str) -> tuple[str, str]:
    """(address, code) of what was pasted: ``http://HOST:PORT sq_..._...``, or a whole command line.

    Raises InvalidValueError, which says what is missing.
    """
    raise NotImplementedError


def join(server_dir: Path, url: str, code: str, alias: str, *, ca_file: str | None = None) -> Identity:
    """Join the hub at ``url`` and store ``server.json``; until then nothing of the former hub changes."""
    raise NotImplementedError


def leave(server_dir: Path) -> None:
    """Forget the hub here. The hub keeps what it knows until its owner forgets this server there."""
    raise NotImplementedError
