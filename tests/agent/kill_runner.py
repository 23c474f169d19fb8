"""Runs an agent in a forked child and kills it, again and again, as told on standard input.

Started as a process of its own: forking is safe only where no other thread runs. A line of input is ``time
S`` (killed S seconds after its start), ``call N`` (it kills itself before its N-th call that writes or reads
something: a statement of SQLite, a read, a send, a rename) or ``write N`` (before its N-th call that changes
something). The answer is the child's end.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.agent.main import run

WRITES = frozenset({"executemany", "sendall", "send", "fsync"})
CALLS = WRITES | {"execute", "readv", "recv_into", "replace"}
LONGEST_LIFE_S = 2.0


def die_at_call(number: int, calls: frozenset[str]) -> None:
    """SIGKILL for this process right before that one of these calls, in whichever thread it happens."""
    seen = itertools.count(1)

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in calls and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(look)
    sys.setprofile(look)


def live(settings: AgentSettings, how: str, value: float) -> str:
    """One life of an agent; how it ended."""
    child = os.fork()
    if child == 0:
        if how != "time":
            die_at_call(int(value), WRITES if how == "write" else CALLS)
        os._exit(run(settings))
    end = time.monotonic() + (value if how == "time" else LONGEST_LIFE_S)
    while time.monotonic() < end and how != "time":
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        time.sleep(0.005)
    time.sleep(max(0.0, end - time.monotonic()))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


def main() -> None:
    told = json.loads(sys.argv[1])
    settings = AgentSettings(
        data_dir=Path(told["data"]),
        folders=(("lora", told["loras"]),),
        hub_url=told["url"],
        low_priority=False,
    )
    for line in sys.stdin:
        how, value = line.split()
        print(live(settings, how, float(value)), flush=True)


if __name__ == "__main__":
    main()
