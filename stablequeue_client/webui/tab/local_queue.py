"""What of the queue is in this WebUI alone: kept jobs, and results that wait for the hub. Asks no hub."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

from stablequeue_client.hub_client.refused_here import refused_results
from stablequeue_client.shared.errors import NotFoundError
from stablequeue_client.webui.parts.runtime import Runtime
from stablequeue_client.webui.parts.states import OutboxJob
from stablequeue_client.webui.views.local_queue_view import KeptPictures, LocalQueue, OutboxRow

SHOWN = 10
TITLE_MAX = 90


def local_queue(rt: Runtime) -> LocalQueue:
    """The value, from what lies here now."""
    kept = rt.queueing.kept.all()
    waiting, refused = ([job for job in kept if bool(job.refused) is said] for said in (False, True))
    aside = refused_results(rt.places.server_dir)
    return LocalQueue(
        waiting=tuple(map(_row, waiting[:SHOWN])),
        waiting_total=len(waiting),
        refused=tuple(map(_row, refused[:SHOWN])),
        refused_total=len(refused),
        results=rt.runner.state().results,
        kept_pictures=tuple(KeptPictures(one.reason, str(one.folder)) for one in aside[-SHOWN:]),
        kept_pictures_total=len(aside),
    )


def send_again(rt: Runtime, key: str) -> None:
    """Send a refused job again. Raises NotFoundError."""
    if not rt.queueing.send_again(key):
        raise _gone()


def throw_away(rt: Runtime, key: str) -> None:
    """Remove a kept job. Raises NotFoundError."""
    if not rt.queueing.kept.drop(key):
        raise _gone()


def _gone() -> NotFoundError:
    return NotFoundError("It is no longer kept here.", remedy="The hub may have it by now.")


def _row(job: OutboxJob) -> OutboxRow:
    title, count = _said(job.path)
    return OutboxRow(job.key, title, job.made_ms, count, job.refused)


class _Payload(msgspec.Struct):
    prompt: str = ""


class _StoredSubmission(msgspec.Struct):
    payload: _Payload
    count: int = 1


@lru_cache(maxsize=4 * SHOWN)
def _said(path: Path) -> tuple[str, int]:
    """Return how its prompt begins, and how many jobs it becomes. A kept file never changes, and may be
    large."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_StoredSubmission)
    except (OSError, msgspec.DecodeError):
        return "A job that cannot be read", 1
    words = " ".join(found.payload.prompt.split())
    title = words if len(words) <= TITLE_MAX else f"{words[: TITLE_MAX - 1].rstrip()}…"
    return title or "Without a prompt", found.count
