"""The hub that ``up`` runs: its port, and its start."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

from stablequeue_client.child_processes import Child, ChildSpec
from stablequeue_client.commands.context import Context
from stablequeue_client.commands.terminal import warn
from stablequeue_client.data_folder import UP_STATE, own_hub_url, owner_key, up_state
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.own_hub.hub_process import child_environment, hub_command, hub_words
from stablequeue_client.own_hub.ports import PORTS_TRIED, port_is_free
from stablequeue_client.settings import DEFAULT_HOST, DEFAULT_PORT
from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import DataFolderError, HubUnreachableError, StableQueueError
from stablequeue_client.shared.parent_process import PARENT_VARIABLE, parent_mark

HUB_START_S = 60.0
_OTHERS = "other computers that joined it need the new address meanwhile."


class HubStartError(StableQueueError):
    """The hub could not be started."""

    code = "hub_start"


@dataclass(frozen=True)
class HubAccess:
    """A hub that answers, and the owner's key to it."""

    url: str
    hub_id: str
    key: str

    def api(self) -> HubApi:
        """A client of its own for the caller."""
        return HubApi(self.url, self.key)


def start_hub(context: Context, children: list[Child], stop: threading.Event) -> HubAccess | None:
    """A hub of this data folder that answers; None when it was stopped meanwhile.

    Its child is added to ``children``, unless such a hub runs already (started with ``stablequeue hub``).
    """
    running = running_hub(context)
    if running is not None:
        return running
    host = context.settings.host or DEFAULT_HOST
    used = _own_port(context)
    first = context.settings.port or used or DEFAULT_PORT
    for port in range(first, min(first + PORTS_TRIED, 65_536)):
        if not port_is_free(host, port):
            warn(f"Port {port} is taken by another program; trying {port + 1}.")
            continue
        child = Child(_hub_plan(context, port))
        children.append(child)
        child.start()
        if _answers(context, child, stop):
            if port == first or not used:  # one that only stood in is not its own
                write_private(context.data_dir / UP_STATE, json.dumps({"port": port}).encode())
            elif port != used:
                warn(f"Until the next start the hub is at port {port}, not at {first}: {_OTHERS}")
            return running_hub(context)
        if stop.is_set():
            return None
        if port_is_free(host, port):  # so it did not fail for the port
            raise HubStartError(f"The hub ended with code {child.exit_code()}: {child.last_output()}")
        children.remove(child)
    raise HubStartError("No free port was found.", remedy="Give one with --port N.")


def _own_port(context: Context) -> int | None:
    """The port it has had from its first start, by which other computers know it."""
    used = up_state(context.data_dir).get("port")
    return used if isinstance(used, int) else None


def _hub_plan(context: Context, port: int) -> ChildSpec:
    environment = child_environment(context.settings, {PARENT_VARIABLE: parent_mark()})
    words = hub_command("hub", *hub_words(context.settings, context.data_dir, port))
    return ChildSpec("The hub", words, lambda: environment, context.data_dir / "logs" / "hub.log")


def _answers(context: Context, child: Child, stop: threading.Event) -> bool:
    """Wait until the child's hub answers; False when it ended or we are to stop."""
    deadline = time.monotonic() + HUB_START_S
    while child.exit_code() is None and not stop.wait(0.1):
        if running_hub(context) is not None:
            return True
        if time.monotonic() > deadline:
            raise HubStartError(f"The hub does not answer after {HUB_START_S:.0f} s: {child.last_output()}")
    return False


def running_hub(context: Context) -> HubAccess | None:
    """The hub that runs on this data folder now, or None."""
    url = own_hub_url(context.data_dir)
    if url is None:
        return None
    try:
        hub_id = HubApi(url).health().hub_id
    except HubUnreachableError:  # also what a hub that was killed left behind
        return None
    key = owner_key(context.data_dir)
    if key is None:
        raise DataFolderError(
            f"The owner's key in {context.data_dir} is missing.",
            remedy="Restart the hub: it makes a new one.",
        )
    return HubAccess(url, hub_id, key)
