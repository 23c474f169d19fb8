"""What a runner that waits for jobs costs a generation in the same process: the loop of P6, with and without.

The runner is the real one, in this process, waiting at a real hub in a process of its own; the loop holds and
gives back the interpreter as a sampler does. "Waits": its request sleeps at the hub, as when a generation has
just begun. "Looks": the WebUI says that it generates, so it only looks once a second whether that is over.
Rounds of all three, shuffled; medians of the rounds' ratios. Exit code 1 on a miss.

    python benchmarks/idle_runner.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generation import Loop
from heartbeat import start_hub

from stablequeue_client.hub_client.api import HubApi
from stablequeue_client.hub_client.join import join
from stablequeue_client.index.snapshot import IndexReader
from stablequeue_client.shared.wire.inventory import ServerCapabilities
from stablequeue_client.webui.host.models import LoadedModels
from stablequeue_client.webui.runner import runner as runner_module
from stablequeue_client.webui.runner.runner import Runner, RunnerContext

AIM = 0.99
VARIANTS = ("alone", "waits", "looks")
SETTLE_S = 1.0
THREAD = "stablequeue-runner"


class NoHost:
    """What a runner without a job asks of its host."""

    def memory(self) -> LoadedModels:
        return LoadedModels()

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"An idle runner asked the host for {name}.")


@contextmanager
def idle_runner(server_dir: Path, *, generating: bool) -> Iterator[None]:
    """A runner that has been at its place for a moment."""
    runner = Runner(
        RunnerContext(
            host=NoHost(),  # type: ignore[arg-type]
            server_dir=server_dir,
            models=IndexReader(server_dir),
            works_for_others=lambda: "always",
            capabilities=lambda: ServerCapabilities("forge"),
            is_generating=lambda: generating,
            is_up=lambda: True,
            connect=lambda identity, timeouts: HubApi(identity.hub_url, identity.key, timeouts=timeouts),
        )
    )
    runner.start()
    time.sleep(SETTLE_S)
    if not any(thread.name == THREAD for thread in threading.enumerate()):
        raise SystemExit("The runner has ended.")
    try:
        yield
    finally:
        runner.stop(timeout_s=0.0)
        for thread in threading.enumerate():
            if thread.name == THREAD:
                thread.join()


def measure(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Steps per second of every round, by variant."""
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    loop = Loop(max(1, (os.cpu_count() or 2)))
    # Long enough that none ends within a round, and short, because a round begins when the last one is over.
    setattr(runner_module, "NEXT_WAIT_MAX_S", SETTLE_S + seconds + 1.0)  # noqa: B010 - imported there
    with tempfile.TemporaryDirectory() as folder:
        hub, port, key = start_hub(Path(folder))
        server_dir = Path(folder) / "server"
        server_dir.mkdir()
        try:
            join(server_dir, f"http://127.0.0.1:{port}", key, "bench")
            for _ in range(rounds):
                for name in random.sample(VARIANTS, len(VARIANTS)):
                    if name == "alone":
                        steps = loop.steps(seconds)
                    else:
                        with idle_runner(server_dir, generating=name == "looks"):
                            steps = loop.steps(seconds)
                    found[name].append(len(steps) / sum(steps))
        finally:
            hub.kill()
            hub.wait()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    found = measure(2 if quick else 25, 1.0 if quick else 2.0)
    missed = False
    print(f"{'measure':<48} {'measured':>9} {'aim':>8}  ok")
    for name in VARIANTS[1:]:
        ratio = statistics.median(a / b for a, b in zip(found[name], found["alone"], strict=True))
        missed = missed or ratio < AIM
        words, said = f"speed, runner {name} / alone", "yes" if ratio >= AIM else "NO"
        print(f"{words:<48} {ratio:>9.3f} {f'>= {AIM}':>8}  {said}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
