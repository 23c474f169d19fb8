"""Views that only a WebUI shows."""
