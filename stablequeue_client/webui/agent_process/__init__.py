"""Starts the agent and watches it."""
