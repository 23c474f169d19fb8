"""``stablequeue up``: hub, page and this computer's folders in one go, all ended together.

In the data folder it keeps ``up.lock`` (one ``up`` at a time), ``up.json`` (the port it took last) and
``logs/``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from stablequeue_client.child_processes import Child, ChildSpec, stop_all
from stablequeue_client.commands.context import Context
from stablequeue_client.commands.demo_library import prepare_demo
from stablequeue_client.commands.demo_queue import WORKING, DemoQueue, all_read
from stablequeue_client.commands.folders import require_folders
from stablequeue_client.commands.scanning import stop_on_signals
from stablequeue_client.commands.terminal import say, say_json, warn
from stablequeue_client.commands.up_hub import HubAccess, running_hub, start_hub
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.own_hub.hub_process import child_environment, require_hub
from stablequeue_client.settings import Settings
from stablequeue_client.shared.errors import ConflictError, DataFolderError, StableQueueError
from stablequeue_client.shared.model_files.model_file import Kind
from stablequeue_client.shared.parent_process import PARENT_VARIABLE, parent_mark

_POLL_S = 0.5
_DEMO_READ_S = 60.0
_FLAGS: dict[Kind, str] = {
    "checkpoint": "--checkpoints",
    "lora": "--loras",
    "vae": "--vae",
    "text_encoder": "--text-encoders",
    "embedding": "--embeddings",
}


@dataclass(frozen=True)
class LocalServer:
    """One server that ``up`` runs an agent for. ``words``: the options that name its folders."""

    alias: str | None
    data: Path
    words: tuple[str, ...]


def run_up(context: Context) -> int:
    """Run until Ctrl-C or SIGTERM; a second ``up`` on one data folder only opens the page of the first."""
    require_hub()
    servers = demo_servers(context) if context.settings.demo else own_server(context)
    lock = _lock(context.data_dir)
    if lock is None:
        return _open_running(context)
    try:
        return _run(context, servers)
    finally:
        lock.release()


def own_server(context: Context) -> tuple[LocalServer, ...]:
    """This computer with the folders that were given. Raises NoFoldersError, which says what to give."""
    words = [word for kind, path in require_folders(context.settings) for word in (_FLAGS[kind], path)]
    return (LocalServer(context.settings.alias, context.data_dir, tuple(words)),)


def demo_servers(context: Context) -> tuple[LocalServer, ...]:
    """The sample library's servers, written when they are not there yet."""
    return tuple(
        LocalServer(
            server.alias, Path(server.data), ("--webui", server.webui, "--digests", str(context.data_dir))
        )
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
    hub = running_hub(context)
    if hub is None:
        raise ConflictError(
            f"Another `up` is starting or stopping on {context.data_dir}.", remedy="Try again in a moment."
        )
    warn(f"StableQueue already runs on this data folder: {hub.url}")
    _show_page(context.settings, hub)
    return 0


def _run(context: Context, servers: Sequence[LocalServer]) -> int:
    children: list[Child] = []
    with stop_on_signals() as stop:
        _stop_on_hangup(stop)
        try:
            hub = start_hub(context, children, stop)
            if hub is None:
                return 0
            for server in servers:
                child = Child(_agent_plan(context, server, hub, len(servers) > 1))
                children.append(child)
                child.start()
            if context.settings.demo:
                _begin_demo(hub, servers, children, stop)
            _show_page(context.settings, hub)
            if not context.settings.json:
                say("Press Ctrl-C to stop it.")
            while not stop.wait(_POLL_S):
                for child in children:
                    sentence = child.supervise()
                    if sentence:
                        warn(f"stablequeue: {sentence}")
        finally:
            stop_all(children)
    return 0


def _begin_demo(
    hub: HubAccess, servers: Sequence[LocalServer], children: list[Child], stop: threading.Event
) -> None:
    """Wait until the sample files are read, so that the page begins with them; then switch a server off."""
    by_alias = {server.alias or "": server.data for server in servers}
    DemoQueue(hub.url, hub.key, by_alias, stop).start()
    warn("Reading the sample library…")
    until = time.monotonic() + _DEMO_READ_S
    while time.monotonic() < until and not stop.wait(_POLL_S):
        try:
            if all_read(hub.api(), by_alias):
                break
        except StableQueueError:
            continue
    for child, server in zip(list(children[-len(servers) :]), servers, strict=True):
        if server.alias not in WORKING:
            children.remove(child)
            stop_all([child])


def _stop_on_hangup(stop: threading.Event) -> None:
    """A closed terminal ends it too."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: stop.set())


# --- the agents -----------------------------------------------------------------------------------------


def _agent_plan(context: Context, server: LocalServer, hub: HubAccess, several: bool) -> ChildSpec:
    settings = context.settings
    # Everything the agent needs stands here, so no settings file is read again.
    words = [sys.executable, "-m", "stablequeue_client", "agent", "--config", os.devnull]
    words += ["--data", str(server.data), "--hub", hub.url, *server.words, *_agent_words(settings)]
    words += ["--alias", server.alias] if server.alias else []
    name = server.alias or "this computer"
    log = context.data_dir / "logs" / f"{name if several else 'agent'}.log"
    return ChildSpec(f"Reading of {name}", words, lambda: _agent_environment(settings, server, hub), log)


def _agent_words(settings: Settings) -> list[str]:
    words = ["--network-rate", str(settings.network_rate), "--hashing", settings.hashing]
    words += [f"--receive={settings.receive}", "--hand-out" if settings.hand_out else "--no-hand-out"]
    words += [f"--private={pattern}" for pattern in settings.private]
    return words + (["--digests", settings.digests] if settings.digests else [])


def _agent_environment(settings: Settings, server: LocalServer, hub: HubAccess) -> Mapping[str, str]:
    """The child's environment, with a join code while the server has not joined this hub."""
    extra = {PARENT_VARIABLE: parent_mark()}
    identity = load_identity(server.data)
    if identity is None or identity.hub_id != hub.hub_id:
        extra["STABLEQUEUE_JOIN"] = str(hub.api().join_code()["key"])
    environment = child_environment(settings, extra)
    environment.pop("STABLEQUEUE_DATABASE", None)
    return environment


# --- the page -------------------------------------------------------------------------------------------


def _show_page(settings: Settings, hub: HubAccess) -> None:
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
