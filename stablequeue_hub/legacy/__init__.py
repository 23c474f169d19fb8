"""The contract of the old StableQueue, whole."""
