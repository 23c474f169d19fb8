"""What is on this computer, from the index: the JSON of ``scan`` and its text."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from stablequeue_client.commands.terminal import say, say_table, size_text
from stablequeue_client.index.index import Index
from stablequeue_client.index.rows import IndexRow
from stablequeue_client.shared.model_files.model_file import webui_name
from stablequeue_client.shared.wire.inventory import native_path

_DIGESTS = ("sha256", "autov2", "blake3", "autov1", "autov3")
_KIND_WORDS = {"text_encoder": "text encoder", "vae": "VAE", "lora": "LoRA"}
_STATE_WORDS = {
    "ready": "read",
    "unhashed": "not read yet",
    "partial": "still being written",
    "busy": "in use by another program",
    "unstable": "changes while it is read",
    "corrupt": "broken",
    "unreadable": "cannot be read",
    "set_aside": "set aside by the WebUI",
}


def inventory_report(index: Index) -> dict[str, Any]:
    """``{"files": [...], "roots": [...]}``, sorted by root and path; see ``file_report`` for a file."""
    roots = index.roots()
    folders = {root.root_id: root.path_on_disk for root in roots}
    rows = sorted(index.rows(), key=lambda row: (folders.get(row.root_id, ""), row.path))
    return {
        "files": [file_report(row, folders.get(row.root_id, "")) for row in rows],
        "roots": [
            {
                "root": root.path_on_disk,
                "root_id": root.root_id,
                "type": root.kind,
                "health": root.health,
                "label": root.label,
            }
            for root in roots
        ],
    }


def file_report(row: IndexRow, folder: str) -> dict[str, Any]:
    """One file. ``source`` says of each digest that is there who computed or claims it; others are null.

    ``path`` is the name on disk relative to ``root``, with ``/``; bytes that are no text stand in it as lone
    surrogates, as Python's ``os`` functions give them.
    """
    path = native_path(row.path, windows=os.name == "nt").replace(os.sep, "/")
    values, sources = _digests(row)
    return {
        "type": row.kind,
        "name": webui_name(row.kind, path),
        "path": path,
        "root": folder,
        "size": row.size,
        "state": row.state,
        **{name: values.get(name) for name in _DIGESTS},
        "source": sources,
        **({"reason": row.reason.removeprefix(f"{os.path.join(folder, path)}: ")} if row.reason else {}),
    }


def _digests(row: IndexRow) -> tuple[dict[str, str], dict[str, str]]:
    """(value, source) of each digest: computed ones, and for a file not read yet what others claim."""
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name in _DIGESTS:
        computed = getattr(row.digests, name)
        if computed:
            values[name], sources[name] = computed, "computed"
    if row.state != "unhashed":
        return values, sources
    for claim in row.claims:
        if claim.digest not in values:
            values[claim.digest], sources[claim.digest] = claim.value, claim.source
        if claim.digest == "sha256" and "autov2" not in values:
            values["autov2"], sources["autov2"] = claim.value[:10], claim.source
    return values, sources


def say_report(report: dict[str, Any]) -> None:
    """The report as a table and one line that sums it up."""
    files = report["files"]
    say_table(
        ("type", "name", "size", "AutoV2", "state"),
        [
            (
                _KIND_WORDS.get(file["type"], file["type"]),
                file["name"],
                size_text(file["size"]),
                file["autov2"] or "",
                state_text(file["state"], file.get("reason")),
            )
            for file in files
        ],
    )
    say()
    say(summary(files))
    for root in report["roots"]:
        if root["health"] != "healthy":
            say(f"Folder {root['label']}: not connected or emptied; what was known of it is kept.")


def summary(files: list[dict[str, Any]]) -> str:
    """ "12 files, 4.2 GB: 10 read, 1 broken, 1 set aside by the WebUI"."""
    states = Counter(_STATE_WORDS[file["state"]] for file in files)
    counted = ", ".join(f"{count} {word}" for word, count in states.most_common())
    size = size_text(sum(file["size"] for file in files))
    return f"{len(files)} files, {size}" + (f": {counted}" if counted else "")


def state_text(state: str, reason: str | None = None) -> str:
    """A state in plain words, with its reason."""
    word = _STATE_WORDS[state]
    return f"{word}: {reason}" if reason else word
