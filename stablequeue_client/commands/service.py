"""``service install|remove|status``: have the hub start with the system."""

from __future__ import annotations

import sys
from pathlib import Path

from stablequeue_client.commands.context import Context
from stablequeue_client.commands.terminal import say, say_json
from stablequeue_client.own_hub.environments import Environments
from stablequeue_client.own_hub.hub_process import require_hub
from stablequeue_client.own_hub.running import hub_words
from stablequeue_client.own_hub.service import Service, ServiceStatus, service_of, shown
from stablequeue_client.own_hub.state import load_state
from stablequeue_client.settings import DEFAULT_PORT
from stablequeue_client.terminal_text import visible


def run_service_install(context: Context) -> int:
    """Raises ServiceError, and HubMissingError where there is no hub to start."""
    words = _words(context.data_dir)
    service = service_of(context.data_dir)
    return _tell(context, service, service.install(words), f"It runs: {visible(shown(words))}")


def run_service_remove(context: Context) -> int:
    """A hub that runs goes on. Nothing to remove is no failure."""
    service = service_of(context.data_dir)
    return _tell(context, service, service.remove())


def run_service_status(context: Context) -> int:
    service = service_of(context.data_dir)
    return _tell(context, service, service.status())


def _words(data_dir: Path) -> list[str]:
    """The hub that a WebUI's extension made for this data folder, else the one that is installed here."""
    environments, port = Environments(data_dir), load_state(data_dir).port
    made = environments.current()
    if made is not None and port:
        return hub_words(made.python, environments.starter, data_dir, port)
    require_hub()
    words = [sys.executable, "-u", "-m", "stablequeue_client", "hub", "--data", str(data_dir)]
    return [*words, "--port", str(port or DEFAULT_PORT)]


def _tell(context: Context, service: Service, status: ServiceStatus, more: str = "") -> int:
    if context.settings.json:
        say_json({"installed": status.installed, "system": service.system, "path": str(status.path)})
        return 0
    if status.installed:
        say(f"The hub of {visible(str(context.data_dir))} starts with the system. {status.note}")
        say(f"Written to {visible(str(status.path))}")
    else:
        say(f"The hub of {visible(str(context.data_dir))} does not start with the system.")
    if more:
        say(more)
    return 0
