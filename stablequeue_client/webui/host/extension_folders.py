"""Where the extension keeps what: outside the WebUI's folder, because a WebUI serves files from there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from stablequeue_client.settings import ENVIRONMENT_PREFIX


@dataclass(frozen=True)
class ExtensionFolders:
    """The folders of this WebUI's StableQueue. ``machine_dir`` and ``server_dir`` may not exist yet."""

    machine_dir: Path
    """The user-data folder: own hub's data, digests of all WebUIs of this computer (as the CLI's ``up``)."""
    server_dir: Path
    """One per WebUI: index.sqlite, server.json, capabilities.json, agent.log."""
    extension_dir: Path
    """The checkout: what stands on PYTHONPATH of the processes we start."""


def find_folders(data_dir: str, environment: Mapping[str, str], toml: Mapping[str, Any]) -> ExtensionFolders:
    """The places of the WebUI whose data lies in ``data_dir``: environment, else TOML, else user data."""
    chosen = environment.get(ENVIRONMENT_PREFIX + "DATA") or toml.get("data")
    if chosen:
        machine_dir = Path(str(chosen)).expanduser().absolute()
    else:
        machine_dir = Path(platformdirs.user_data_dir("stablequeue", appauthor=False))
    mark = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:8]
    extension_dir = Path(__file__).resolve().parents[3]
    return ExtensionFolders(machine_dir, machine_dir / "webuis" / mark, extension_dir)
