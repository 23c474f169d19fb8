"""Makes own hubs for tests: copies of a checkout, free ports, waiting until all is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from stablequeue_client.own_hub import OwnHub, OwnHubStatus

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("pyproject.toml", "stablequeue_client", "stablequeue_hub", "javascript", "style.css")


def copy_checkout(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def settled(
    hub: OwnHub, seconds: float = 180, look: Callable[[OwnHubStatus], None] = lambda _: None
) -> OwnHubStatus:
    """The status once nothing is being done any more; ``look`` sees those before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = hub.status()
        look(status)
        if status.phase not in ("building", "starting"):
            return status
        time.sleep(0.05)
    raise AssertionError(f"still {hub.status()}")


class Made:
    """A data folder whose hub ran once, and the checkout it was made from."""

    def __init__(self, machine_dir: Path, checkout: Path, statuses: list[OwnHubStatus]) -> None:
        self.machine_dir, self.checkout, self.statuses = machine_dir, checkout, statuses
