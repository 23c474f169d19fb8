"""Digests from the cache, with the hosts' rule: an entry older than the file does not count."""

from __future__ import annotations

import os.path

from modules.cache import cache


def sha256_from_cache(filename: str, title: str, use_addnet_hash: bool = False) -> str | None:
    hashes = cache("hashes-addnet") if use_addnet_hash else cache("hashes")
    try:
        ondisk_mtime = os.path.getmtime(filename)
    except FileNotFoundError:
        return None
    entry = hashes.get(title)
    if entry is None:
        return None
    if ondisk_mtime > entry.get("mtime", 0) or entry.get("sha256") is None:
        return None
    return str(entry["sha256"])
