"""Where the folders lie: their ids and devices, found out without waiting for a share that hangs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from stablequeue_client.agent.agent_settings import AgentSettings
from stablequeue_client.files.devices import Device, device_of
from stablequeue_client.files.private_files import PrivateFiles
from stablequeue_client.files.scanner import Root, make_root
from stablequeue_client.index.index import Index
from stablequeue_client.shared.model_files.model_file import Kind

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
"""How long to wait for a folder's device; then it counts as a network folder that hangs."""

Probe = Callable[[Kind, str], tuple[Root, Device]]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ProbedFolders:
    """The folders of an agent without the private ones, each once; by root id the device it lies on."""

    roots: tuple[Root, ...]
    devices: Mapping[str, Device]
    private: PrivateFiles

    def is_network(self, root_id: str) -> bool:
        return self.devices[root_id].kind == "network"


def probe(kind: Kind, path: str) -> tuple[Root, Device]:
    """Asks the file system; may never return."""
    root = make_root(kind, path)
    return root, device_of(root.path)


def probe_folders(
    settings: AgentSettings, index: Index, *, look: Probe = probe, patience_s: float = PROBE_TIMEOUT_S
) -> ProbedFolders:
    """The folders of the settings. One that hangs keeps the id it had before."""
    known: dict[tuple[str, str], str] = {(row.kind, row.path_on_disk): row.root_id for row in index.roots()}
    answers = results_within(patience_s, [partial(look, kind, path) for kind, path in settings.folders])
    found = [
        answer or _unresponsive(kind, path, known)
        for answer, (kind, path) in zip(answers, settings.folders, strict=True)
    ]
    private = _private(settings.private, patience_s)
    shown = {root.root_id: (root, device) for root, device in found if not private.hides_root(root)}
    roots = tuple(root for root, _ in shown.values())
    return ProbedFolders(roots, {root.root_id: device for root, device in shown.values()}, private)


def _unresponsive(kind: Kind, path: str, known: Mapping[tuple[str, str], str]) -> tuple[Root, Device]:
    """Return what can be said of a folder that does not answer."""
    root = make_root(kind, path, realpath=str)
    root_id = known.get((root.kind, root.path), root.root_id)
    extra = {"action": "root_stalled", "root": root_id}
    logger.warning("A folder does not answer; the others are read meanwhile.", extra=extra)
    return (
        Root(root_id, kind, root.path, root.label, root.real),
        Device(f"hangs {root.path}", "network"),
    )


def _private(patterns: Sequence[str], patience_s: float) -> PrivateFiles:
    def realpath(path: str) -> str:
        return results_within(patience_s, [lambda: os.path.realpath(path)])[0] or path

    return PrivateFiles(patterns, realpath=realpath)


def results_within(seconds: float, calls: Sequence[Callable[[], _T]]) -> list[_T | None]:
    """All calls at once; None for those without an answer in that time, which are left to themselves."""
    asked = [_TimedCall(call) for call in calls]
    for thread in asked:
        thread.start()
    end = time.monotonic() + seconds
    for thread in asked:
        thread.join(max(0.0, end - time.monotonic()))
    return [thread.answer for thread in asked]


class _TimedCall(threading.Thread, Generic[_T]):
    """One call in a thread of its own."""

    def __init__(self, call: Callable[[], _T]) -> None:
        super().__init__(name="stablequeue-look", daemon=True)
        self._call = call
        self.answer: _T | None = None

    def run(self) -> None:
        self.answer = self._call()
