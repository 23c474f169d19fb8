"""Runs an agent in a forked child for a while and kills it, again and again, as told on standard input.

Started as a process of its own: forking is safe only where no other thread runs. Each line of input is
the seconds until the kill; the answer is the child's end (``killed`` or its exit code).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.agent.process import run


def main() -> None:
    told = json.loads(sys.argv[1])
    settings = AgentSettings(
        data_dir=Path(told["data"]),
        folders=(("lora", told["loras"]),),
        hub_url=told["url"],
        low_priority=False,
    )
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(run(settings))
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
