"""Where the script and the style sheet lie: beside the package in a wheel, at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

ASSETS = {
    "stablequeue.js": "javascript/stablequeue.js",
    "style.css": "style.css",
    "icon.svg": "icon.svg",
}
"""Public name -> path below the folder that holds them."""

_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def asset_path(name: str) -> Path | None:
    """The file of ``name`` (a key of ``ASSETS``), or None when there is no such asset."""
    relative = ASSETS.get(name)
    if relative is None:
        return None
    package = Path(__file__).parent
    for folder in (package / "static", package.parents[2]):
        if (folder / relative).is_file():
            return folder / relative
    return None


def asset(name: str) -> tuple[bytes, str] | None:
    """Content and content type of ``name``, or None when there is no such asset."""
    path = asset_path(name)
    return (path.read_bytes(), _TYPES[path.suffix]) if path else None
