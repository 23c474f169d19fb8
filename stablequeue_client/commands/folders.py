"""The model folders of a call, from ``--webui`` and the options for each kind."""

from __future__ import annotations

import os

from stablequeue_client.files.scanner import find_webui_roots
from stablequeue_client.settings import Settings, typed_folders
from stablequeue_client.shared.errors import UsageError
from stablequeue_client.shared.model_files.model_file import Kind


class NoFoldersError(UsageError):
    """No model folder was given."""

    code = "no_folders"
    remedy_text = (
        "Give the folder of your WebUI with --webui DIR, or single folders with --checkpoints DIR, "
        "--loras DIR, --vae DIR, --text-encoders DIR, --embeddings DIR."
    )


def model_folders(settings: Settings) -> tuple[tuple[Kind, str], ...]:
    """(kind, absolute folder) of every folder that was given, each once, in the order given.

    A single folder need not be there now (it may be unplugged). Raises FolderError for a WebUI folder in
    which there is no model folder.
    """
    found: list[tuple[Kind, str]] = []
    for webui in settings.webui:
        found += [(root.kind, root.path) for root in find_webui_roots(_absolute(webui))]
    found += [(kind, _absolute(path)) for kind, path in typed_folders(settings)]
    return tuple(dict.fromkeys(found))


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def require_folders(settings: Settings) -> tuple[tuple[Kind, str], ...]:
    """The folders, at least one. Raises NoFoldersError, which says what to give."""
    found = model_folders(settings)
    if not found:
        raise NoFoldersError
    return found
