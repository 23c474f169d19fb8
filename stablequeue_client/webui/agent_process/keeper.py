"""The agent of this WebUI: a child process, kept running by one thread of ours.

The thread starts the child, starts it again when it died or when its settings changed, tells it when the
WebUI generates (so that it reads nothing then), and keeps ``capabilities.json`` up to date. The child
ends by itself when the WebUI is gone, however that ended.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from stablequeue_client.agent import busy_marker
from stablequeue_client.agent.agent_settings import CAPABILITIES_NAME
from stablequeue_client.child_processes import Child, ChildSpec, stop_all
from stablequeue_client.hub_client.identity import load_identity
from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.parent_process import parent_mark
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.webui.agent_process.command_line import agent_environment, agent_words, log_file
from stablequeue_client.webui.host.known_folders import KnownFolders
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.parts.states import AgentState
from stablequeue_client.webui.settings.source import TomlFile, settings_file

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often the thread looks whether the WebUI generates and whether the child lives."""
SETTINGS_S = 5.0
CAPABILITIES_S = 60.0
FOLDERS_TIMEOUT_S = 1.0
"""For the WebUI's folders, one of which may hang; meanwhile those of the last answer count."""
START_UP_S = 60.0
"""When a WebUI that does not report being up (``--nowebui``) counts as up."""
REPEATED_PROBLEM_SHOWN_S = 10.0
PROBLEM_SHOWN_S = 2.0
"""How long the agent's last exit is still shown once it runs again."""
REPEATED_WITHIN_S = 120.0
"""Exits closer together than this are one problem."""
FULL_DISK_BYTES = 1 << 20
_NAME = "Reading of the model folders"


@dataclass(frozen=True)
class _AgentSpec:
    """What makes two starts different. ``connection``: whom the agent is at which hub."""

    words: tuple[str, ...]
    join: str | None
    connection: tuple[str, ...]


class AgentKeeper:
    """One per WebUI process. Any thread may call anything; nothing here blocks for long but ``stop``."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._folders = KnownFolders(rt.host.model_folders, rt.places.server_dir)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._look_now = threading.Event()
        self._child: Child | None = None
        self._plan: _AgentSpec | None = None
        self._state = AgentState(False, time.time(), "")
        self._problem = ""
        self._problem_at = float("-inf")
        self._lasting = False
        self._touched = float("-inf")
        self._capabilities: bytes | None = None

    # --- called from other threads ---------------------------------------------------------------------

    def start(self) -> None:
        """Keep an agent running from now on. Returns at once; does nothing when it is kept already."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="stablequeue-keeper", daemon=True)
            self._thread.start()

    def restart(self) -> None:
        """Settings or connection changed: look now instead of in some seconds. Returns at once."""
        self._look_now.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the agent and do not start it again."""
        self._stop.set()
        self._look_now.set()
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def state(self) -> AgentState:
        """Return how the agent is; costs nothing."""
        return self._state

    def note_generating(self, generating_now: bool) -> None:
        """The WebUI generates (or does not any more); to be repeated at least every 2 s while it does."""
        now = time.monotonic()
        if generating_now and now - self._touched >= busy_marker.TOUCH_S:
            self._touched = now
            busy_marker.touch(self._rt.places.machine_dir)

    # --- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        settings_due = capabilities_due = started = time.monotonic()
        try:
            while not self._stop.is_set():
                now, busy = time.monotonic(), self._is_generating()
                self.note_generating(busy)
                if now >= settings_due or self._look_now.is_set():
                    if self._look_now.is_set():
                        capabilities_due = now
                    self._look_now.clear()
                    settings_due = now + SETTINGS_S
                    self._try(self._follow_settings)
                if now >= capabilities_due and not busy:
                    up = self._is_up(now - started)
                    self._try(partial(self._write_capabilities, up=up))
                    capabilities_due = now + (CAPABILITIES_S if up else SETTINGS_S)
                self._try(self._supervise)
                self._look_now.wait(POLL_S)
        finally:
            self._end()

    def _try(self, step: Callable[[], None]) -> None:
        """Do it; what goes wrong is told once, and tried again at the next turn."""
        try:
            step()
        except Exception as error:  # of our disk, or whatever the WebUI raises
            sentence = str(error) or type(error).__name__
            if sentence != self._problem:
                logger.warning("StableQueue: %s", sentence, extra={"action": "keeper_failed"})
            self._problem, self._problem_at, self._lasting = sentence, time.monotonic(), True

    def _is_generating(self) -> bool:
        try:
            return self._rt.host.is_generating()
        except Exception:  # it is still starting
            return False

    def _is_up(self, seconds: float) -> bool:
        """Return whether the WebUI's page is built: before that it does not know all of itself."""
        try:
            return seconds > START_UP_S or bool(self._rt.host.web_addresses())
        except Exception:  # it is still starting
            return False

    # --- the child -------------------------------------------------------------------------------------

    def _follow_settings(self) -> None:
        """Start the child, or another one when what it was started with is not true any more."""
        plan = self._planned()
        if plan == self._plan:
            return
        if self._plan is not None:
            logger.info("The settings changed; reading restarts.", extra={"action": "agent_restart"})
        self._end()
        self._plan = None
        self._rt.places.server_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._child = self._make_child(plan)
        self._child.start()
        self._plan = plan
        self._tell_state()

    def _make_child(self, plan: _AgentSpec) -> Child:
        places = self._rt.places

        def environment() -> dict[str, str]:
            return agent_environment(os.environ, places, parent=parent_mark(), join=plan.join)

        return Child(ChildSpec(_NAME, plan.words, environment, log_file(places), places.server_dir))

    def _planned(self) -> _AgentSpec:
        places, host, settings = self._rt.places, self._rt.host, self._rt.settings()
        words = agent_words(
            settings,
            self._folders.now(FOLDERS_TIMEOUT_S),
            places,
            python=sys.executable,
            cache_dir=host.hash_cache_dir(),
        )
        return _AgentSpec(tuple(words), self._join_key(), self._connection(given=settings.hub is not None))

    def _join_key(self) -> str | None:
        """As the environment or stablequeue.toml gives it; ``@FILE`` is the agent's to read."""
        toml = TomlFile(settings_file(os.environ, self._rt.places.machine_dir)).values()
        given = os.environ.get("STABLEQUEUE_JOIN") or toml.get("join")
        return str(given) if given else None

    def _connection(self, *, given: bool) -> tuple[str, ...]:
        """Return who this server is, and at which hub; where the settings name that, the agent notes it
        itself."""
        try:
            identity = load_identity(self._rt.places.server_dir)
        except StableQueueError as error:
            return (error.message,)
        if identity is None:
            return ()
        return (identity.server_id, identity.secret, "" if given else identity.hub_url)

    def _supervise(self) -> None:
        """Start the child again when it died and its wait is over."""
        if self._child is None:
            return
        sentence = self._child.supervise()
        if sentence:
            now = time.monotonic()
            # Once it runs well again the problem is over; of one that exits again and again it stays shown.
            self._lasting = now - self._problem_at < REPEATED_WITHIN_S
            self._problem, self._problem_at = sentence, now
            logger.warning("StableQueue: %s", sentence, extra={"action": "agent_ended"})
        self._tell_state()

    def _end(self) -> None:
        if self._child is not None:
            stop_all([self._child])
            self._child = None
        self._tell_state()

    def _tell_state(self) -> None:
        running = self._child is not None and self._child.is_running
        before = self._state
        since = before.since if running == before.running else time.time()
        words = self._child.last_output() if self._child and not running else ""
        shown_s = REPEATED_PROBLEM_SHOWN_S if self._lasting else PROBLEM_SHOWN_S
        if running and time.monotonic() - self._problem_at > shown_s:
            self._problem = ""
        self._state = AgentState(running, since, words, self._full_disk() or self._problem)

    def _full_disk(self) -> str:
        """The child cannot say this itself: its own files lie on that disk."""
        folder = self._rt.places.server_dir
        try:
            if shutil.disk_usage(folder).free >= FULL_DISK_BYTES:
                return ""
        except OSError:
            return ""
        return f"The disk that holds {folder} is full. Free some space there; reading resumes by itself."

    # --- what the WebUI can do -------------------------------------------------------------------------

    def _write_capabilities(self, *, up: bool) -> None:
        """Write the file when it changed; before the WebUI is up only its family, where there is no file."""
        path = self._rt.places.server_dir / CAPABILITIES_NAME
        works = self._rt.settings().works_for_others
        if up:
            said = self._rt.host.capabilities(works)
        elif path.exists():
            return
        else:
            said = ServerCapabilities(webui=self._rt.host.family, works_for_others=works)
        data = msgspec.json.encode(said)
        if data != self._capabilities:
            write_private(path, data)
            self._capabilities = data
