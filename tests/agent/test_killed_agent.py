"""R1: an agent that is killed at any instant loses nothing and says nothing wrong.

Real processes, real files, the real hub; ``kill -9`` after a random time or at a random call with which it
scans, hashes, writes and synchronises. STABLEQUEUE_TEST_KILLS sets the number of kills (CI: 40),
STABLEQUEUE_TEST_SEED the history.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the hub is not installed here")

from stablequeue_client.clock import SYSTEM_CLOCK
from stablequeue_client.index.index import open_index
from stablequeue_client.shared.wire.inventory import native_path

from .real_hub import (
    RealHub,
    as_ready,
    environment,
    index_rows,
    model_bytes,
    on_disk,
    run_once,
    write_model,
)

KILLS = int(os.environ.get("STABLEQUEUE_TEST_KILLS", "40"))
SEED = int(os.environ.get("STABLEQUEUE_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
LONGEST_LIFE_S = 0.9
CALLS, WRITES = 250, 40
"""About so many calls an agent makes until it has done all there is to do here."""


class History:
    """Changes files at random, as people and programs do; remembers every content a path ever had."""

    def __init__(self, loras: Path, dice: random.Random) -> None:
        self.loras = loras
        self.dice = dice
        self.number = 0
        self.contents: set[str] = set()

    def add(self) -> None:
        self.number += 1
        folder = self.dice.choice(["", "a", "a/b"])
        size = self.dice.choice([500, 20_000, 2_000_000])
        path = self.loras / folder / f"m{self.number}.safetensors"
        self.contents.add(write_model(path, size, self.number))

    def change(self) -> None:
        """One of: add, overwrite, overwrite in place keeping size and mtime, rename, delete."""
        files = sorted(self.loras.rglob("*.safetensors"))
        path = self.dice.choice(files)
        sort = self.dice.choice(["add", "add", "replace", "in place", "rename", "delete"])
        if sort == "add" or len(files) < 5:
            self.add()
        elif sort == "replace":
            self.number += 1
            path.unlink()
            self.contents.add(write_model(path, 7_000, self.number))
        elif sort == "in place":
            self._overwrite(path)
        elif sort == "rename":
            self.number += 1
            path.rename(self.loras / f"r{self.number}.safetensors")
        else:
            path.unlink()

    def _overwrite(self, path: Path) -> None:
        """Other content, (nearly always) the same size, the same mtime."""
        before = path.stat()
        self.number += 1
        overhead = len(model_bytes(before.st_size, self.number)) - before.st_size
        content = model_bytes(before.st_size - overhead, self.number)
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.contents.add(hashlib.sha256(content).hexdigest())


def wrong_rows(data: Path, loras: Path) -> list[str]:
    """Rows whose digest is not that of the file they describe: same path, same stamps, other SHA256."""
    index = open_index(data)
    try:
        assert index.repaired is None
        wrong = []
        for row in index.rows():
            path = loras / native_path(row.path)
            if row.sha256 is None or not path.exists():
                continue
            found = path.stat()
            same = (found.st_size, found.st_mtime_ns, found.st_ctime_ns) == (
                row.size,
                row.mtime_ns,
                row.ctime_ns,
            )
            if same and hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
                wrong.append(row.path)
        return wrong
    finally:
        index.close()


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="forks")
@pytest.mark.timeout(60 + KILLS * 5)
def test_an_agent_killed_at_any_instant_loses_nothing_and_says_nothing_wrong(
    real_hub: RealHub, tmp_path: Path
) -> None:
    print(f"STABLEQUEUE_TEST_SEED={SEED}")
    dice = random.Random(SEED)
    loras, data = tmp_path / "loras", tmp_path / "data"
    history = History(loras, dice)
    for _ in range(12):
        history.add()
    assert run_once(real_hub, data, loras, clock=SYSTEM_CLOCK) == 0
    acked = 0
    for _ in _kills(real_hub, data, loras, dice, history):
        assert wrong_rows(data, loras) == []
        index_id, sequence, _digest = real_hub.inventory()
        index = open_index(data)
        here = index.position()
        index.close()
        assert (here.index_id, here.sequence >= sequence) == (index_id, True), (
            "an acknowledged change was lost"
        )
        assert {sha256 for _, sha256 in real_hub.rows().values() if sha256} <= history.contents
        acked += sequence
    assert acked > 0
    assert run_once(real_hub, data, loras, clock=SYSTEM_CLOCK) == 0
    assert real_hub.rows() == index_rows(data) == as_ready(on_disk(loras))


def _instant(dice: random.Random) -> str:
    """When the agent is to die, as ``kill_runner`` understands it."""
    how = dice.choice(["time", "call", "write", "write"])
    if how == "time":
        return f"time {dice.uniform(0.0, LONGEST_LIFE_S):.4f}"
    return f"call {dice.randint(1, CALLS)}" if how == "call" else f"write {dice.randint(1, WRITES)}"


def _kills(hub: RealHub, data: Path, loras: Path, dice: random.Random, history: History) -> Iterator[None]:
    """Let an agent live for a while, change files before and meanwhile, kill it; yields after each."""
    told = json.dumps({"data": str(data), "loras": str(loras), "url": hub.url})
    words = [sys.executable, str(Path(__file__).with_name("kill_runner.py")), told]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, env=environment(), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as runner:
        assert runner.stdin is not None
        assert runner.stdout is not None
        for _ in range(KILLS):
            if dice.random() < 0.5:
                history.change()
            runner.stdin.write(_instant(dice) + "\n")
            runner.stdin.flush()
            if dice.random() < 0.5:
                history.change()
            assert runner.stdout.readline().strip() == "killed"
            yield
        runner.stdin.close()
