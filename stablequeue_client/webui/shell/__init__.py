"""How the extension comes to life in a WebUI: its parts put together, and what the host calls."""
