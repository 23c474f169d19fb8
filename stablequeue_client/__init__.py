"""StableQueue on a server: folders, hashes, local index, sync with the hub, views."""

__version__ = "0.1.0"
