"""Work the hub does by itself."""
