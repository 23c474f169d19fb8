"""Digests from the hash cache of a WebUI, as claims. Nothing is unpickled, nothing is written there.

A1111 and its family keep ``<cache>/hashes/cache.db`` and ``<cache>/hashes-addnet/cache.db`` (diskcache 5.6:
SQLite, table ``Cache``, values pickled ``{"mtime": ..., "sha256": ...}``); older ones ``cache.json`` beside
or in the folder, ``{section: {key: value}}``. Keys: ``checkpoint/<path below its folder>``,
``lora/<name without extension>``, ``textual_inversion/<name>``.
"""

from __future__ import annotations
