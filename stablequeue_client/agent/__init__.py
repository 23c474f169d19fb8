"""The background process on a server: watch, scan, hash, sync."""
