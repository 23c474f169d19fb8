"""The diskcache of the hosts."""

from __future__ import annotations

import os

import diskcache
from modules.paths import data_path

cache_dir = os.environ.get("SD_WEBUI_CACHE_DIR", os.path.join(data_path, "cache"))
caches: dict[str, diskcache.Cache] = {}


def cache(subsection: str) -> diskcache.Cache:
    if subsection not in caches:
        caches[subsection] = diskcache.Cache(os.path.join(cache_dir, subsection))
    return caches[subsection]


def dump_cache() -> None:
    """Does nothing since diskcache."""
