"""Where the scripts and the style sheet lie: beside the package in a wheel, at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

# A WebUI loads all of ``javascript/`` by itself; these are what the hub's page needs of it.
SCRIPTS = (
    "stablequeue.js",
    "stablequeue_away.js",
    "stablequeue_chosen.js",
    "stablequeue_clicks.js",
    "stablequeue_filters.js",
    "stablequeue_forms.js",
    "stablequeue_hub_page.js",
    "stablequeue_morph.js",
    "stablequeue_navigation.js",
    "stablequeue_new_job.js",
    "stablequeue_page.js",
    "stablequeue_requests.js",
    "stablequeue_times.js",
)
ASSETS = {
    **{name: f"javascript/{name}" for name in SCRIPTS},
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
