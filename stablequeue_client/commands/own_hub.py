"""The hub that ``up`` runs: its port, its start, and the owner's key to it."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stablequeue_client.commands.children import PARENT_VARIABLE, Child, ChildPlan, parent_mark
from stablequeue_client.commands.context import (
    OWNER_KEY,
    UP_STATE,
    Context,
    owner_key,
    up_state,
    write_private,
)
from stablequeue_client.commands.hub_process import child_environment, hub_command, hub_words
from stablequeue_client.commands.terminal import visible, warn
from stablequeue_client.errors import AuthenticationError, HubUnreachableError, StableQueueError
from stablequeue_client.hub_api import HubApi
from stablequeue_client.settings import DEFAULT_HOST, DEFAULT_PORT

SAMPLE_VARIABLE = "STABLEQUEUE_SAMPLE"
"""Set for the hub of the demo: every page says "sample"."""
HUB_START_S = 60.0
PORTS_TRIED = 50


class HubStartError(StableQueueError):
    """The hub could not be started."""

    code = "hub_start"


@dataclass(frozen=True)
class RunningHub:
    """A hub that answers, and the owner's key to it."""

    url: str
    hub_id: str
    key: str

    def api(self) -> HubApi:
        """A client of its own for the caller."""
        return HubApi(self.url, self.key)


def start_hub(context: Context, children: list[Child], stop: threading.Event) -> RunningHub | None:
    """A hub of this data folder that answers; None when it was stopped meanwhile.

    Its child is added to ``children``, unless such a hub runs already (started with ``stablequeue hub``).
    """
    key = owner_key(context.data_dir) or _make_owner_key(context)
    hosts = _hosts(context)
    for port in _ports(context):
        if not port_is_free(hosts[0], port):
            running = _running_hub(context, port, key)
            if running is not None:
                return running
            warn(f"Port {port} is taken by another program; trying {port + 1}.")
            continue
        child = Child(_hub_plan(context, port))
        children.append(child)
        child.start()
        hub = _wait_for_hub([page_url(host, port) for host in hosts], child, stop, key)
        if hub is not None:
            return _remembered(context, hub, port)
        if stop.is_set():
            return None
        if port_is_free(hosts[0], port):  # so it did not fail for the port
            raise HubStartError(f"The hub ended with code {child.exit_code()}: {child.last_words()}")
        children.remove(child)
    raise HubStartError("No free port was found.", remedy="Give one with --port N.")


def _ports(context: Context) -> Iterator[int]:
    """The port that was asked for, else the one used last, else the usual one; then those above it."""
    used = up_state(context.data_dir).get("port")
    first = context.settings.port or (used if isinstance(used, int) else DEFAULT_PORT)
    yield from range(first, min(first + PORTS_TRIED, 65_536))


def _hosts(context: Context) -> list[str]:
    """Where the hub may be listening: as asked for now, or as it was told before."""
    if context.settings.host:
        return [context.settings.host]
    told = up_state(context.data_dir).get("host")
    return [DEFAULT_HOST, told] if isinstance(told, str) else [DEFAULT_HOST]


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. A host that is not ours counts as free: the hub says why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there the option would allow two listeners on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True


def page_url(host: str, port: int) -> str:
    """The address at which this computer's browser reaches a hub that listens on ``host``."""
    every = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
    return f"http://{every.get(host, f'[{host}]' if ':' in host else host)}:{port}"


def _hub_plan(context: Context, port: int) -> ChildPlan:
    sample = {SAMPLE_VARIABLE: "1"} if context.settings.demo else {}
    environment = child_environment(context.settings, {PARENT_VARIABLE: parent_mark(), **sample})
    words = hub_command("hub", *hub_words(context.settings, context.data_dir, port))
    return ChildPlan("The hub", words, lambda: environment, context.data_dir / "logs" / "hub.log")


def _wait_for_hub(urls: list[str], child: Child, stop: threading.Event, key: str) -> RunningHub | None:
    """The hub as soon as it answers under one of its addresses; None when it ended or we are to stop."""
    deadline = time.monotonic() + HUB_START_S
    while child.exit_code() is None and not stop.wait(0.1):
        for url in urls:
            try:
                return RunningHub(url, HubApi(url).health().hub_id, key)
            except HubUnreachableError:
                continue
        if time.monotonic() > deadline:
            raise HubStartError(f"The hub does not answer after {HUB_START_S:.0f} s: {child.last_words()}")
    return None


def _running_hub(context: Context, port: int, key: str) -> RunningHub | None:
    """The hub of this very data folder when it is what answers at ``port``. No other is shown the key."""
    known: Any = up_state(context.data_dir).get("hub_id")
    for host in _hosts(context):
        url = page_url(host, port)
        try:
            hub_id = HubApi(url).health().hub_id
        except StableQueueError:
            continue
        if hub_id == known:
            return _remembered(context, RunningHub(url, hub_id, key), port)
    return None


def _remembered(context: Context, hub: RunningHub, port: int) -> RunningHub:
    """Write down where the hub is, and make sure that the owner's key opens it."""
    host = context.settings.host or up_state(context.data_dir).get("host")
    state = {"port": port, "url": hub.url, "hub_id": hub.hub_id, "host": host}
    write_private(context.data_dir / UP_STATE, json.dumps(state) + "\n")
    try:
        hub.api().keys()
    except AuthenticationError:  # it was revoked, or is another database's
        return RunningHub(hub.url, hub.hub_id, _make_owner_key(context))
    return hub


def _make_owner_key(context: Context) -> str:
    """A new admin key for the owner of this computer, kept in the data folder."""
    words = hub_command("keys", "create", "--data", str(context.data_dir), "--scope", "admin", "--json")
    made = subprocess.run(
        [*words, "--name", "owner of this computer"],
        env=child_environment(context.settings),
        capture_output=True,
        check=False,
    )
    try:
        key = str(json.loads(made.stdout)["key"])
    except (ValueError, KeyError, TypeError):
        lines = (made.stderr or made.stdout).decode("utf-8", "replace").strip().splitlines()
        cause = visible(lines[-1]) if lines else "no reason given"
        raise HubStartError(f"The hub's data in {context.data_dir} cannot be used: {cause}") from None
    write_private(context.data_dir / OWNER_KEY, key + "\n")
    return key
