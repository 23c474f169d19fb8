"""File events: a hint that must survive every name a disk can hold."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stablequeue_client.agent.watching import Watcher
from stablequeue_client.files.scanner import make_root


def heard_within(bell: threading.Event, seconds: float) -> bool:
    heard = bell.wait(seconds)
    bell.clear()
    return heard


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no undecodable names")
def test_events_of_undecodable_names_are_heard_and_the_watch_goes_on(tmp_path: Path) -> None:
    bell, stop = threading.Event(), threading.Event()
    watcher = Watcher(make_root("lora", str(tmp_path)), lambda root_id: bell.set(), stop)
    watcher.start()
    try:
        time.sleep(0.5)
        for number in range(3):
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff%d.safetensors" % number)).write_bytes(b"x")
            assert heard_within(bell, 10)
            assert watcher.problem is None
            time.sleep(1.2)  # the watch stands again
            bell.clear()
        (tmp_path / "good.safetensors").write_bytes(b"x")
        assert heard_within(bell, 10)
    finally:
        stop.set()
        watcher.join(10)


def test_an_agent_whose_watchfiles_is_broken_walks_all_the_same_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "watchfiles.py").write_text("raise ImportError('undefined symbol')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), *sys.path])}
    words = [sys.executable, "-c", WATCH, str(tmp_path / "models")]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert "cannot be watched (undefined symbol); it is scanned hourly." in told.stdout, told.stderr


WATCH = """
import sys, threading, time
import stablequeue_client.agent.main
from stablequeue_client.agent.watching import Watcher
from stablequeue_client.files.scanner import make_root
watcher = Watcher(make_root("lora", sys.argv[1]), print, threading.Event())
watcher.start()
until = time.monotonic() + 60
while not watcher.problem and time.monotonic() < until:
    time.sleep(0.02)
print(watcher.problem)
"""
