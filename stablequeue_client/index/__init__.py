"""The local index and its rules."""
