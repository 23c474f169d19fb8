"""Copies of models between servers: as rows and states, their sources, what jobs want, the relay."""
