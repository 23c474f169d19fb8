"""P6: a loop like a generation, beside an agent that reads model files, against the same loop alone.

The agent is a real one at its own low priority, told to read now, over sparse files of gigabytes, so that
it is bound by the processor and never done. The loop's steps are native work without the GIL and a little
Python, as a sampler's are, on every core. "As in a WebUI": the loop says every half second that it generates,
as the WebUI's keeper does. "Priority alone": it does not. Ratios of one run, shuffled rounds, medians.
Exit code 1 on a miss.

    python benchmarks/generation.py [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from stablequeue_client.agent import busy_marker
from stablequeue_client.index.index import open_index

FILES = 24
FILE_BYTES = 4 << 30
NATIVE_BYTES = 8 << 20
"""Hashed per core and step: about 20 ms."""
PYTHON_ITEMS = 400
VARIANTS = ("alone", "as in a WebUI", "priority alone")


class Loop:
    """Steps of a generation. ``steps(seconds)`` gives the time of each, in seconds."""

    def __init__(self, cores: int) -> None:
        self._pool = ThreadPoolExecutor(cores)
        self._cores = cores
        self._data = bytes(NATIVE_BYTES)
        self._text = json.dumps([{"step": number} for number in range(PYTHON_ITEMS)])

    def steps(self, seconds: float) -> list[float]:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            list(self._pool.map(lambda _: hashlib.sha256(self._data).digest(), range(self._cores)))
            json.loads(self._text)
            taken.append(time.perf_counter() - started)
        return taken


class Agent:
    """A real agent that can be stopped and let go on."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        models = folder / "models"
        models.mkdir()
        for number in range(FILES):
            with open(models / f"{number}.ckpt", "wb") as file:
                file.truncate(FILE_BYTES + number)
        me = f"{os.getpid()}:{_start_time()!r}:webui"
        words = [
            sys.executable, "-m", "stablequeue_client", "agent", f"--data={self.data}",
            f"--checkpoints={models}", "--hashing=now",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            words, env={**os.environ, "STABLEQUEUE_PARENT": me}, stderr=subprocess.DEVNULL
        )

    def wait_until_it_reads(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.5)
            if (self.data / "index.sqlite").exists():
                index = open_index(self.data, repair=False)
                progress = index.read_progress()
                index.close()
                if progress is not None and progress.bytes_done > 0:
                    return
        raise SystemExit("The agent does not read.")

    @contextmanager
    def working(self, works: bool) -> Iterator[None]:
        self.process.send_signal(signal.SIGCONT if works else signal.SIGSTOP)
        time.sleep(0.3)
        yield


def _start_time() -> float:
    import psutil

    return psutil.Process().create_time()


@contextmanager
def told(machine_dir: Path) -> Iterator[None]:
    """Says that somebody generates, as often as the keeper of a WebUI does; the agent hears it first."""
    over = threading.Event()

    def touch() -> None:
        while not over.is_set():
            busy_marker.touch(machine_dir)
            over.wait(0.5)

    thread = threading.Thread(target=touch)
    thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        over.set()
        thread.join()
        (machine_dir / busy_marker.FILE_NAME).unlink(missing_ok=True)
        time.sleep(0.3)


def measure(rounds: int, seconds: float) -> dict[str, list[list[float]]]:
    """The step times of every round, by variant."""
    found: dict[str, list[list[float]]] = {name: [] for name in VARIANTS}
    loop = Loop(max(1, (os.cpu_count() or 2)))
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(Path(folder))
        try:
            agent.wait_until_it_reads()
            for _ in range(rounds):
                for name in random.sample(VARIANTS, len(VARIANTS)):
                    with agent.working(name != "alone"):
                        if name == "as in a WebUI":
                            with told(agent.data):
                                found[name].append(loop.steps(seconds))
                        else:
                            found[name].append(loop.steps(seconds))
        finally:
            agent.process.kill()
            agent.process.wait()
    return found


def p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * (len(times) - 1))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    found = measure(2 if quick else 7, 1.0 if quick else 3.0)
    speed = {name: statistics.median(len(t) / sum(t) for t in rounds) for name, rounds in found.items()}
    late = {name: statistics.median(p99(t) for t in rounds) for name, rounds in found.items()}
    missed = False
    print(f"{'measure':<48} {'measured':>9} {'aim':>8}  ok")
    for name in VARIANTS[1:]:
        throughput, step = speed[name] / speed["alone"], late[name] / late["alone"]
        rows = (
            (f"P6 speed, {name} / alone", throughput, ">= 0.97", throughput >= 0.97),
            (f"P6 p99 of a step, {name} / alone", step, "<= 1.10", step <= 1.10),
        )
        for words, value, aim, reached in rows:
            if name == "as in a WebUI":
                missed = missed or not reached
                print(f"{words:<48} {value:>9.3f} {aim:>8}  {'yes' if reached else 'NO'}")
            else:
                print(f"{words:<48} {value:>9.3f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
