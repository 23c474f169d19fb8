"""The hub of this computer, as its owner starts and ends it by a button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stablequeue_client.hub_api import HubApi
from stablequeue_client.own_hub.status import OwnHubStatus


class OwnHub:
    """``machine_dir``: its data folder, as for ``stablequeue hub --data``. ``source_dir``: the checkout it is
    made from. ``python``: the interpreter it runs with. Thread-safe; only ``start``, ``stop``, ``remove`` and
    ``ensure_running`` do something, the first and the last in a thread of their own.
    """

    def __init__(self, machine_dir: Path, source_dir: Path, python: str) -> None: ...

    def status(self) -> OwnHubStatus:
        """How it is now. Asks the hub itself, at most for a second: not for the main thread."""
        raise NotImplementedError

    def start(self, then: Callable[[HubApi], None] | None = None) -> None:
        """Have it run; returns at once. ``then`` gets the owner's client once it answers (in our thread)."""
        raise NotImplementedError

    def ensure_running(self) -> None:
        """At the WebUI's start: start it when it is wanted, and bring it to this version. Returns at once."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it, and do not start it with the WebUI any more. Waits until it has ended."""
        raise NotImplementedError

    def remove(self) -> None:
        """Stop it and delete its data, keys, environments and service. There is no way back."""
        raise NotImplementedError

    def join_code(self) -> str:
        """A code with which one server joins within an hour. Raises HubUnreachableError."""
        raise NotImplementedError

    def api(self) -> HubApi:
        """The owner's client of the running hub. Raises HubUnreachableError."""
        raise NotImplementedError
