"""Keys, sessions, and who may sign in."""
