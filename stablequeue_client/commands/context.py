"""What every command is given: its settings, its data folder, and the way to its hub."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

from stablequeue_client.agent.identity import load_identity
from stablequeue_client.errors import UsageError
from stablequeue_client.hub_api import HubApi
from stablequeue_client.settings import Settings

UP_STATE = "up.json"
"""``{"port": N, "url": ...}`` of the hub that ``up`` last ran on this data folder."""
OWNER_KEY = "owner.key"
"""The admin key that ``up`` made for this computer's owner, mode 0600."""


@dataclass(frozen=True)
class Context:
    """One call of a command."""

    settings: Settings
    data_dir: Path
    arguments: argparse.Namespace
    """The command's own words (what to look for, whom to rename), which are no settings."""


def hub_address(context: Context) -> str:
    """``--hub``, else the hub that ``up`` runs from this data folder, else the one this server joined."""
    if context.settings.hub:
        return context.settings.hub
    known = up_state(context.data_dir).get("url")
    if isinstance(known, str):
        return known
    identity = load_identity(context.data_dir)
    if identity is not None:
        return identity.hub_url
    raise UsageError(
        f"No hub is known in {context.data_dir}.",
        remedy="Give its address with --hub URL, or start one with `stablequeue up`.",
    )


def hub_key(context: Context) -> str:
    """``--key``, else the owner's key that ``up`` left in the data folder."""
    key = context.settings.key or owner_key(context.data_dir)
    if key:
        return key
    raise UsageError(
        "A key for the hub is missing.",
        remedy="Give --key KEY or --key @FILE. `stablequeue keys create` on the hub's computer makes one.",
    )


def open_hub(context: Context) -> HubApi:
    """The hub of this call, asked who it is before a key is shown to it."""
    hub = HubApi(hub_address(context), hub_key(context), ca_file=context.settings.ca_file)
    hub.health()
    return hub


def up_state(data_dir: Path) -> dict[str, object]:
    """What ``up`` remembered in this folder; empty when it never ran or the file is damaged."""
    try:
        state = json.loads((data_dir / UP_STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def owner_key(data_dir: Path) -> str | None:
    """The key in ``owner.key``, or None."""
    try:
        return (data_dir / OWNER_KEY).read_text("utf-8").strip() or None
    except OSError:
        return None


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
