"""``hub`` and ``keys``: start ``python -m stablequeue_hub`` as a child. The client never imports the hub."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from stablequeue_client.settings import Settings
from stablequeue_client.shared.errors import StableQueueError

_HUB_NEEDS = ("alembic", "fastapi", "sqlalchemy", "uvicorn")


class HubMissingError(StableQueueError):
    """The hub's packages are not installed here."""

    code = "hub_missing"
    remedy_text = (
        "Install them with `pip install 'stablequeue[hub]'`, from a checkout with `pip install '.[hub]'`."
    )


def require_hub() -> None:
    """Raises HubMissingError unless the hub and what it needs can be started with this Python."""
    missing = [name for name in ("stablequeue_hub", *_HUB_NEEDS) if importlib.util.find_spec(name) is None]
    if missing:
        raise HubMissingError(f"The hub cannot be started: not installed here is {', '.join(missing)}.")


def hub_command(*words: str) -> list[str]:
    """The argument list that runs the hub's own command line with this Python."""
    return [sys.executable, "-m", "stablequeue_hub", *words]


def hub_words(settings: Settings, data_dir: Path, port: int) -> list[str]:
    """The words of ``hub`` that are no secret."""
    words = ["--data", str(data_dir), "--port", str(port), "--events-days", str(settings.events_days)]
    words += ["--jobs-days", str(settings.jobs_days), "--pictures-gb", str(settings.pictures_gb)]
    words += ["--backup-confirmed"] if settings.backup_confirmed else []
    words += ["--legacy-open"] if settings.legacy_open else []
    return words + (["--host", settings.host] if settings.host else [])


def child_environment(settings: Settings, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without our settings: a child is told all it needs, secrets in here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STABLEQUEUE_")}
    if settings.database:
        kept["STABLEQUEUE_DATABASE"] = settings.database
    if settings.allowed_hosts:
        kept["STABLEQUEUE_ALLOWED_HOSTS"] = ",".join(settings.allowed_hosts)
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}
