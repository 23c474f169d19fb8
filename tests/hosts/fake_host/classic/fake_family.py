"""Which family this fake plays; no real host has this module."""

FORGE = False
