"""What every command is given: its settings, its data folder, and the way to its hub."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.settings import Settings
from stablequeue_client.shared.errors import UsageError

UP_STATE = "up.json"
"""``{"port": N}``: the port that ``up`` took last in this data folder."""
HUB_STATE = "hub.json"
"""``{"pid", "port", "url"}``: written by a hub for as long as it answers (see the hub's ``process``)."""
OWNER_KEY = "admin.key"
"""The owner's admin key, made by the hub at its first start, mode 0600."""


@dataclass(frozen=True)
class Context:
    """One call of a command."""

    settings: Settings
    data_dir: Path
    arguments: argparse.Namespace
    """The command's own words (what to look for, whom to rename), which are no settings."""


def hub_address(context: Context) -> str:
    """``--hub``, else the hub that runs on this data folder, else the one this server joined."""
    if context.settings.hub:
        return context.settings.hub
    own = own_hub_url(context.data_dir)
    if own is not None:
        return own
    identity = load_identity(context.data_dir)
    if identity is not None:
        return identity.hub_url
    raise UsageError(
        f"No hub is known in {context.data_dir}.",
        remedy="Give its address with --hub URL, or start one with `stablequeue up`.",
    )


def hub_key(context: Context) -> str:
    """``--key``, else the owner's key that the hub keeps in its data folder."""
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
    return _json_object(data_dir / UP_STATE)


def own_hub_url(data_dir: Path) -> str | None:
    """The address of the hub that runs on this data folder, or None. A killed one does not count."""
    state = _json_object(data_dir / HUB_STATE)
    url, pid = state.get("url"), state.get("pid")
    return url if isinstance(url, str) and isinstance(pid, int) and psutil.pid_exists(pid) else None


def _json_object(path: Path) -> dict[str, object]:
    try:
        state = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def owner_key(data_dir: Path) -> str | None:
    """The key in ``admin.key``, or None."""
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
