"""A model file as a value: its kind, state, digests, header and architecture."""
