"""Everything that calls a hub."""
