"""The hub's process on this computer: found, started apart from us, ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stablequeue_client.data_folder import HUB_STATE
from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.connection import Timeouts
from stablequeue_client.own_hub.errors import OwnHubError
from stablequeue_client.own_hub.hub_options import hub_flags, hub_variables
from stablequeue_client.settings import Settings
from stablequeue_client.shared.errors import StableQueueError

LOG = Path("logs") / "hub.log"
LOG_MAX_BYTES = 1_000_000
START_S = 120.0
STOP_S = 20.0
ANSWER_TIMEOUTS = Timeouts(connect=0.5, read=1.0, total=2.0)
"""For a look that is repeated soon."""
PATIENT_TIMEOUTS = Timeouts(connect=2.0, read=10.0, total=12.0)
"""For one that decides: a computer that generates may be slow."""
_TAIL_BYTES = 16_384
_DETACHED = 0x00000200 | 0x00000008
"""Windows: CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS."""
_BREAK_AWAY = 0x01000000
"""Windows: CREATE_BREAKAWAY_FROM_JOB."""


@dataclass(frozen=True)
class RunningHub:
    """A hub of this data folder that answers now."""

    pid: int
    url: str
    hub_id: str


def find_running(
    machine_dir: Path, known: RunningHub | None = None, timeouts: Timeouts = ANSWER_TIMEOUTS
) -> RunningHub | None:
    """The hub that answers for this data folder, whoever started it. One that is ``known`` from before and
    still lives is not asked again: it may be busy, but it is there."""
    told = _told(machine_dir)
    if told is None or not _is_hub(told[0]):
        return None
    pid, url = told
    if known is not None and (known.pid, known.url) == told:
        return known
    hub = HubApi(url, timeouts=timeouts)
    try:
        return RunningHub(pid, url, hub.health().hub_id)
    except StableQueueError:  # also what a hub that was killed left behind
        return None
    finally:
        hub.close()


def living(machine_dir: Path) -> int | None:
    """The process of this data folder's hub, whether it answers or not."""
    told = _told(machine_dir)
    return told[0] if told is not None and _is_hub(told[0]) else None


def is_started_by(pid: int, starter: Path) -> bool:
    """Return whether that process was started through ``starter``, so from an environment of ours."""
    return str(starter) in _words(pid)


def start_detached(
    python: str, starter: Path, machine_dir: Path, port: int, settings: Settings
) -> subprocess.Popen[bytes]:
    """A hub in a session of its own: it lives on when we end. What it prints goes to the log."""
    log = machine_dir / LOG
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
        os.replace(log, log.with_name(log.name + ".1"))
    with open(log, "ab") as out:
        options: dict[str, Any] = {
            "cwd": machine_dir,
            "env": {**hub_environment(), **hub_variables(settings)},
            "stdin": subprocess.DEVNULL,
            "stdout": out,
            "stderr": subprocess.STDOUT,
        }
        words = [*hub_words(python, starter, machine_dir, port), *hub_flags(settings)]
        try:
            return subprocess.Popen(words, **options, **_apart(_DETACHED | _BREAK_AWAY))
        except PermissionError:
            if os.name != "nt":
                raise
            # The job that Windows put us into lets nobody out; the hub then ends with it.
            return subprocess.Popen(words, **options, **_apart(_DETACHED))


def hub_words(python: str, starter: Path, machine_dir: Path, port: int) -> list[str]:
    """The argument list of a hub from our environment; see ``start_hub``."""
    words = [python, "-I", "-S", "-u", str(starter), "hub", "--data", str(machine_dir)]
    return [*words, "--port", str(port)]


def hub_environment() -> dict[str, str]:
    """Ours without our settings: in particular without the parent with whose end a child ends."""
    return {name: text for name, text in os.environ.items() if not name.startswith("STABLEQUEUE_")}


def wait_until_it_answers(
    machine_dir: Path, process: subprocess.Popen[bytes], *, clock: Callable[[], float] = time.monotonic
) -> RunningHub:
    """The hub, once it answers. Raises OwnHubError with its last words when it ended or takes too long."""
    deadline = clock() + START_S
    while clock() < deadline:
        running = find_running(machine_dir)
        if running is not None:
            return running
        if process.poll() is not None:
            raise OwnHubError(f"The hub exited at startup: {last_line(machine_dir)}", remedy=_SEE_LOG)
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise OwnHubError(
        f"The hub did not answer within {START_S:.0f} s: {last_line(machine_dir)}", remedy=_SEE_LOG
    )


_SEE_LOG = "Its log (logs/hub.log in the data folder) says more. Press Start to try again."


def end(machine_dir: Path) -> None:
    """End the hub of this data folder and wait for it; it survives being killed."""
    pid = living(machine_dir)
    if pid is None:
        return
    try:
        _end_process(psutil.Process(pid))
    except psutil.Error as error:
        raise OwnHubError(
            f"The hub (process {pid}) could not be ended: {type(error).__name__}.",
            remedy="End it as the user who started it.",
        ) from error
    with contextlib.suppress(OSError):  # a killed hub leaves it behind
        (machine_dir / HUB_STATE).unlink()


def _end_process(process: psutil.Process) -> None:
    """Raises psutil.Error when it cannot be ended."""
    for end in (process.terminate, process.kill):
        with contextlib.suppress(psutil.NoSuchProcess):
            end()
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline:
            if not _lives(process):
                return
            time.sleep(0.05)
    raise psutil.TimeoutExpired(STOP_S, process.pid)


def _lives(process: psutil.Process) -> bool:
    """Another WebUI that started it need not have taken note of its end: such a zombie is no hub any more."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_unreachable(starter: Path) -> None:
    """End the hubs started through ``starter`` that have not said yet where they listen: what a WebUI that
    was killed had started. Safe at any moment, as every end of a hub is."""
    for process in list(psutil.process_iter()):
        if str(starter) in _words(process.pid):
            with contextlib.suppress(psutil.Error):
                _end_process(process)


def last_line(machine_dir: Path) -> str:
    """The last thing the hub printed."""
    tail = log_tail(machine_dir, 1)
    return tail[0][:400] if tail else "it printed nothing"


def log_tail(machine_dir: Path, lines: int) -> tuple[str, ...]:
    """The last lines of its log."""
    try:
        with open(machine_dir / LOG, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-lines:]


def _told(machine_dir: Path) -> tuple[int, str] | None:
    """(pid, address) as the hub wrote them; it removes them when it ends in order."""
    try:
        told = json.loads((machine_dir / HUB_STATE).read_text("utf-8"))
        pid, url = told["pid"], told["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (pid, url) if isinstance(pid, int) and isinstance(url, str) else None


def _is_hub(pid: int) -> bool:
    """Return whether a hub runs under that number; another program may have got it since."""
    words = _words(pid)
    return any("stablequeue_hub" in word or word.endswith("start_hub.py") for word in words)


def _words(pid: int) -> list[str]:
    try:
        process = psutil.Process(pid)
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


def _apart(windows_flags: int) -> dict[str, Any]:
    """Neither our end nor a Ctrl-C on our terminal reaches it."""
    if os.name == "nt":
        return {"creationflags": windows_flags}
    return {"start_new_session": True}
