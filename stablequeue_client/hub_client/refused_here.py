"""What this computer could not bring to the hub, and why: read from where the WebUI's outboxes set it aside.

queued/<milliseconds>-<key>.refused     why a job was refused, beside the job
results/<job_id>-<fence>.refused/       the pictures of a run, with why in ``reason.txt``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

QUEUED_FOLDER = "queued"
RESULTS_FOLDER = "results"
REFUSED = ".refused"
REASON_NAME = "reason.txt"
REASON_MAX = 600
NO_REASON = "The hub did not say why."


@dataclass(frozen=True)
class SetAside:
    """A run whose pictures are kept here because they did not get to the hub."""

    job_id: str
    reason: str
    folder: Path


def refused_results(server_dir: Path) -> list[SetAside]:
    """Oldest first. Raises nothing: what cannot be read is not there."""
    found = sorted(_paths(server_dir / RESULTS_FOLDER), key=lambda one: one.name)
    return [
        SetAside(path.stem.rpartition("-")[0], reason_in(path / REASON_NAME) or NO_REASON, path)
        for path in found
    ]


def refused_submissions(server_dir: Path) -> list[str]:
    """Return why each of the queued jobs was refused, oldest first."""
    return [reason_in(path) or NO_REASON for path in sorted(_paths(server_dir / QUEUED_FOLDER))]


def reason_in(path: Path) -> str:
    """Return what stands there, and "" where nothing can be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _paths(folder: Path) -> Iterator[Path]:
    try:
        yield from [path for path in folder.iterdir() if path.name.endswith(REFUSED) and path.name[0] != "."]
    except OSError:
        return
