"""What every command is given: its settings, its data folder, and the way to its hub."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from stablequeue_client.data_folder import own_hub_url, owner_key
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.settings import Settings
from stablequeue_client.shared.errors import UsageError


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
