"""The hub as a process: socket, signals, log."""
