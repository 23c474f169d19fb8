"""The routes of the old StableQueue."""
