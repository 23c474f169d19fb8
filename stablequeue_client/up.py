"""``stablequeue up``: hub, page and this computer's folders in one go, all ended together.

In the data folder it keeps ``up.lock`` (one ``up`` at a time), ``up.json`` (port, address and id of the
hub), ``owner.key`` (the owner's admin key, mode 0600) and ``logs/``.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from stablequeue_client.agent.identity import load_identity
from stablequeue_client.commands.children import Child, ChildPlan, end_all, parent_mark
from stablequeue_client.commands.context import (
    OWNER_KEY,
    UP_STATE,
    Context,
    owner_key,
    up_state,
    write_private,
)
from stablequeue_client.commands.folders import require_folders
from stablequeue_client.commands.hub_process import child_environment, hub_command, hub_words, require_hub
from stablequeue_client.commands.reading import PARENT_VARIABLE, stop_on_signals
from stablequeue_client.commands.terminal import say, say_json, visible, warn
from stablequeue_client.demo import prepare_demo
from stablequeue_client.errors import (
    AuthenticationError,
    ConflictError,
    DataFolderError,
    HubUnreachableError,
    StableQueueError,
)
from stablequeue_client.hub_api import HubApi
from stablequeue_client.model_files import Kind
from stablequeue_client.settings import DEFAULT_HOST, DEFAULT_PORT, Settings

SAMPLE_VARIABLE = "STABLEQUEUE_SAMPLE"
"""Set for the hub of the demo: every page says "sample"."""
HUB_START_S = 60.0
PORTS_TRIED = 50
_LOOK_S = 0.5
_FLAGS: dict[Kind, str] = {
    "checkpoint": "--checkpoints",
    "lora": "--loras",
    "vae": "--vae",
    "text_encoder": "--text-encoders",
    "embedding": "--embeddings",
}


class HubStartError(StableQueueError):
    """The hub could not be started."""

    code = "hub_start"
    remedy_text = "Its log says more."


@dataclass(frozen=True)
class Server:
    """One server that ``up`` runs an agent for. ``words``: the options that name its folders."""

    alias: str | None
    data: Path
    words: tuple[str, ...]


@dataclass(frozen=True)
class RunningHub:
    """A hub that answered, and the owner's key to it."""

    url: str
    hub_id: str
    key: str

    def api(self) -> HubApi:
        return HubApi(self.url, self.key)


def run_up(context: Context) -> int:
    """Run until Ctrl-C or SIGTERM; a second ``up`` on the same data folder only opens the first one's page."""
    require_hub()
    servers = demo_servers(context) if context.settings.demo else own_server(context)
    lock = _lock(context.data_dir)
    if lock is None:
        return _open_running(context)
    try:
        return _run(context, servers)
    finally:
        lock.release()


def own_server(context: Context) -> tuple[Server, ...]:
    """This computer with the folders that were given. Raises NoFoldersError, which says what to give."""
    words = [word for kind, path in require_folders(context.settings) for word in (_FLAGS[kind], path)]
    return (Server(context.settings.alias, context.data_dir, tuple(words)),)


def demo_servers(context: Context) -> tuple[Server, ...]:
    """The sample library's servers, written when they are not there yet."""
    return tuple(
        Server(server.alias, Path(server.data), ("--webui", server.webui, "--digests", str(context.data_dir)))
        for server in prepare_demo(str(context.data_dir))
    )


def _lock(data_dir: Path) -> filelock.BaseFileLock | None:
    """The data folder's ``up`` lock, held; None when another ``up`` has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = filelock.FileLock(data_dir / "up.lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return None
    except OSError as error:
        raise DataFolderError(f"{data_dir} cannot be used: {error.strerror}.") from error
    return lock


def _open_running(context: Context) -> int:
    """Open the page of the ``up`` that already runs on this data folder."""
    url, key = up_state(context.data_dir).get("url"), owner_key(context.data_dir)
    if not isinstance(url, str) or key is None:
        raise ConflictError(
            f"Another `up` is just starting on {context.data_dir}.", remedy="Try again in a moment."
        )
    hub = RunningHub(url, HubApi(url).health().hub_id, key)
    say(f"StableQueue already runs on this data folder: {url}")
    _show_page(context.settings, hub)
    return 0


def _run(context: Context, servers: Sequence[Server]) -> int:
    children: list[Child] = []
    with stop_on_signals() as stop:
        _stop_on_hangup(stop)
        try:
            hub = _start_hub(context, children, stop)
            if hub is None:
                return 0
            for server in servers:
                child = Child(_agent_plan(context, server, hub, len(servers) > 1))
                children.insert(0, child)  # agents end before the hub, to tell it what they know
                child.start()
            _show_page(context.settings, hub)
            if not context.settings.json:
                say("Press Ctrl-C to end it.")
            while not stop.wait(_LOOK_S):
                for child in children:
                    sentence = child.look_after()
                    if sentence:
                        warn(f"stablequeue: {sentence}")
        finally:
            end_all(children)
    return 0


def _stop_on_hangup(stop: threading.Event) -> None:
    """A closed terminal ends it too."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: stop.set())


# --- the hub --------------------------------------------------------------------------------------------


def _start_hub(context: Context, children: list[Child], stop: threading.Event) -> RunningHub | None:
    """A hub of this data folder that answers; its child is added to ``children``. None: stopped meanwhile."""
    state = up_state(context.data_dir)
    remembered = state.get("port")
    wanted = context.settings.port or (remembered if isinstance(remembered, int) else DEFAULT_PORT)
    key = owner_key(context.data_dir) or _make_owner_key(context)
    host = context.settings.host or DEFAULT_HOST
    for port in range(wanted, min(wanted + PORTS_TRIED, 65_536)):
        url = page_url(host, port)
        if not port_is_free(host, port):
            say(f"Port {port} is taken by another program; trying {port + 1}.")
            continue
        child = Child(_hub_plan(context, port))
        children.append(child)
        child.start()
        hub_id = _wait_for_hub(url, child, stop)
        if hub_id is not None:
            hub = _with_valid_key(context, RunningHub(url, hub_id, key))
            write_private(
                context.data_dir / UP_STATE, json.dumps({"port": port, "url": url, "hub_id": hub_id}) + "\n"
            )
            return hub
        if stop.is_set():
            return None
        if port_is_free(host, port):  # it did not fail for the port
            raise HubStartError(f"The hub ended with code {child.exit_code()}: {child.last_words()}")
        children.remove(child)
    raise HubStartError(f"No free port from {wanted} on was found.", remedy="Give one with --port N.")


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. A host name that is not ours counts as free: the hub says why."""
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
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


def _hub_plan(context: Context, port: int) -> ChildPlan:
    settings = context.settings
    words = hub_command("hub", *hub_words(settings, context.data_dir, port))
    extra = {PARENT_VARIABLE: parent_mark(), **({SAMPLE_VARIABLE: "1"} if settings.demo else {})}
    environment = child_environment(settings, extra)
    return ChildPlan("The hub", words, lambda: environment, context.data_dir / "logs" / "hub.log")


def _wait_for_hub(url: str, child: Child, stop: threading.Event) -> str | None:
    """The hub's id as soon as it answers; None when it ended or we are to stop."""
    deadline = time.monotonic() + HUB_START_S
    api = HubApi(url)
    while child.exit_code() is None and not stop.wait(0.1):
        try:
            return api.health().hub_id
        except HubUnreachableError:
            if time.monotonic() > deadline:
                raise HubStartError(
                    f"The hub does not answer after {HUB_START_S:.0f} s: {child.last_words()}"
                ) from None
    return None


def _make_owner_key(context: Context) -> str:
    """A new admin key for the owner of this computer, kept in the data folder."""
    words = hub_command("keys", "create", "--data", str(context.data_dir), "--scope", "admin", "--json")
    made = subprocess.run(
        [*words, "--name", "owner of this computer"],
        env=child_environment(context.settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    try:
        key = str(json.loads(made.stdout)["key"])
    except (ValueError, KeyError, TypeError):
        cause = (made.stderr or made.stdout).decode("utf-8", "replace").strip().splitlines()
        raise HubStartError(
            f"The hub's data folder {context.data_dir} cannot be used: {visible(cause[-1]) if cause else 'no reason given'}"
        ) from None
    write_private(context.data_dir / OWNER_KEY, key + "\n")
    return key


def _with_valid_key(context: Context, hub: RunningHub) -> RunningHub:
    """``hub`` with a key it accepts: the stored one may have been revoked, or be another database's."""
    try:
        hub.api().keys()
    except AuthenticationError:
        return RunningHub(hub.url, hub.hub_id, _make_owner_key(context))
    return hub


# --- the agents -----------------------------------------------------------------------------------------


def _agent_plan(context: Context, server: Server, hub: RunningHub, several: bool) -> ChildPlan:
    settings = context.settings
    # Everything the agent needs stands here, so no settings file is read again.
    words = [sys.executable, "-m", "stablequeue_client", "agent", "--config", os.devnull]
    words += ["--data", str(server.data), "--hub", hub.url, *server.words, *_agent_words(settings)]
    words += ["--alias", server.alias] if server.alias else []
    name = server.alias or "this computer"
    log = context.data_dir / "logs" / f"{name if several else 'agent'}.log"
    return ChildPlan(f"The reading of {name}", words, lambda: _agent_environment(settings, server, hub), log)


def _agent_words(settings: Settings) -> list[str]:
    words = ["--network-rate", str(settings.network_rate), "--hashing", settings.hashing]
    return words + (["--digests", settings.digests] if settings.digests else [])


def _agent_environment(settings: Settings, server: Server, hub: RunningHub) -> Mapping[str, str]:
    """The child's environment, with a join code while the server has not joined this hub."""
    extra = {PARENT_VARIABLE: parent_mark()}
    identity = load_identity(server.data)
    if identity is None or identity.hub_id != hub.hub_id:
        extra["STABLEQUEUE_JOIN"] = str(hub.api().join_code()["key"])
    environment = child_environment(settings, extra)
    environment.pop("STABLEQUEUE_DATABASE", None)
    return environment


# --- the page -------------------------------------------------------------------------------------------


def _show_page(settings: Settings, hub: RunningHub) -> None:
    """Open the page signed in, or print the link that does it once within a minute."""
    link = f"{hub.url}/login?code={hub.api().session_code()}"
    if settings.json:
        say_json({"url": hub.url, "login": link})
    elif settings.browser and _can_open_browser() and webbrowser.open(link):
        say(f"The page is open in your browser: {hub.url}")
    else:
        say(f"Open this link, it signs you in once within a minute: {link}")


def _can_open_browser() -> bool:
    """Not a browser inside the terminal, which would hide what is said here."""
    if os.name == "nt" or sys.platform == "darwin":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
