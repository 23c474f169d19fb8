"""Servers, their presence, heartbeat and orders."""
