"""What lies in a hub's data folder beside its database: where it answers, and its owner's key."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

UP_STATE = "up.json"
"""``{"port": N}``: the port that is the hub's own where ``up`` runs in this data folder."""
HUB_STATE = "hub.json"
"""``{"pid", "port", "url"}``: written by a hub for as long as it answers."""
OWNER_KEY = "admin.key"
"""The owner's admin key, made by the hub at its first start, mode 0600."""


def up_state(data_dir: Path) -> dict[str, object]:
    """Return what ``up`` remembered in this folder; empty when it never ran or the file is damaged."""
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
