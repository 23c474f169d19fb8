"""A progress bar on standard error for as long as files are read, from what the agent writes to its index."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from stablequeue_client.index.index import open_index
from stablequeue_client.shared.errors import StableQueueError
from stablequeue_client.shared.wire.inventory import Activity

_EVERY_S = 0.5


@contextmanager
def progress_bar(data_dir: Path, *, shown: bool = True) -> Iterator[None]:
    """Show progress while the body runs, on a terminal only."""
    if not (shown and sys.stderr.isatty()):
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(data_dir, done), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)


def _follow(data_dir: Path, done: threading.Event) -> None:
    with tqdm(total=0, unit="B", unit_scale=True, desc="Looking", leave=False, file=sys.stderr) as bar:
        while not done.wait(_EVERY_S):
            activity = _activity(data_dir)
            if activity is not None:
                bar.total = activity.bytes_total
                bar.n = activity.bytes_done
                bar.set_description(_description(activity), refresh=False)
                bar.refresh()


def _activity(data_dir: Path) -> Activity | None:
    if not (data_dir / "index.sqlite").exists():
        return None
    try:
        index = open_index(data_dir, repair=False)
        try:
            return index.read_progress()
        finally:
            index.close()
    except StableQueueError:  # the command itself says what is wrong with the index
        return None


def _description(activity: Activity) -> str:
    if activity.phase == "hashing":
        return f"Reading {activity.files_done}/{activity.files_total} files"
    return {"scanning": "Looking", "paused": "Paused"}.get(activity.phase, "Waiting")
