"""Two WebUIs over one model folder: each file is read once, also when one of them is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .real_hub import as_ready, environment, index_rows, on_disk, until, write_model

RUNNER = Path(__file__).with_name("counting_agent.py")
FILES = 12
FILE_BYTES = 12_000_000


class CountingAgent:
    """One ``counting_agent.py``."""

    def __init__(self, tmp_path: Path, name: str, *further: str) -> None:
        self.data = tmp_path / name
        self.log = tmp_path / f"{name}.count"
        words = [
            sys.executable, str(RUNNER), str(self.data), str(tmp_path / "machine"), str(tmp_path / "loras"),
            *further,
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, env=environment(), stdin=subprocess.PIPE, stdout=log)

    @property
    def bytes_read(self) -> int:
        lines = self.log.read_text().split()
        return int(lines[-1]) if lines else 0

    def rows(self) -> dict[str, tuple[str, str | None]]:
        return index_rows(self.data)


@contextmanager
def agents(tmp_path: Path, *names: str) -> Iterator[list[CountingAgent]]:
    started = [CountingAgent(tmp_path, name, "slow") for name in names]
    try:
        yield started
    finally:
        for agent in started:
            agent.process.kill()
            agent.process.wait()


def write_library(tmp_path: Path) -> tuple[dict[str, tuple[str, str | None]], int]:
    for number in range(FILES):
        write_model(tmp_path / "loras" / f"m{number}.safetensors", FILE_BYTES + number * 4, number)
    files = on_disk(tmp_path / "loras")
    return as_ready(files), sum(path.stat().st_size for path in (tmp_path / "loras").iterdir())


def test_two_agents_over_one_folder_read_each_file_once(tmp_path: Path) -> None:
    wanted, size = write_library(tmp_path)
    with agents(tmp_path, "one", "two") as (one, two):
        until(lambda: one.rows() == wanted and two.rows() == wanted, 90, "both to know all files")
        shares = [one.bytes_read, two.bytes_read]
    assert sum(shares) <= 1.02 * size
    assert min(shares) > 0, "both took part"


def test_when_one_agent_is_killed_while_it_reads_the_other_goes_on(tmp_path: Path) -> None:
    wanted, size = write_library(tmp_path)
    with agents(tmp_path, "one", "two") as (one, two):
        # Whichever got going first: the other may find most files read when it starts.
        until(lambda: max(one.bytes_read, two.bytes_read) > 0.2 * size, 60, "one to be in the middle")
        killed, other = (one, two) if one.bytes_read >= two.bytes_read else (two, one)
        killed.process.kill()
        until(lambda: other.rows() == wanted, 90, "the other to know all files")
        read = one.bytes_read + two.bytes_read
    cores_files = 4 * (FILE_BYTES + 4 * FILES)
    assert read <= 1.02 * size + cores_files, "only what the killed one had in work was read again"
