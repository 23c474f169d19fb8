"""The history, and who is woken by it."""
