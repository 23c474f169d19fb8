"""File events: a hint that must survive every name a disk can hold."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from stablequeue_client.agent.watching import Watcher
from stablequeue_client.scanning import make_root


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
