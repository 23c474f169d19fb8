"""Walking folders as the hosts do, and paths for the page."""

from __future__ import annotations

import os
from collections.abc import Iterator

from modules.paths_internal import script_path

cwd = os.getcwd()


def walk_files(path: str, allowed_extensions: list[str] | None = None) -> Iterator[str]:
    if not os.path.exists(path):
        return
    for root, _, files in os.walk(path, followlinks=True):
        for filename in sorted(files):
            if allowed_extensions is None or os.path.splitext(filename)[1].lower() in allowed_extensions:
                yield os.path.join(root, filename)


def truncate_path(target_path: str, base_path: str = cwd) -> str:
    absolute, base = os.path.abspath(target_path), os.path.abspath(base_path)
    if os.path.commonpath([absolute, base]) == base:
        return os.path.relpath(absolute, base)
    return absolute


def html_path(filename: str) -> str:
    return os.path.join(script_path, "html", filename)
