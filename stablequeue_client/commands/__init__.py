"""The commands of the command line, a few to a file; ``stablequeue_client.cli`` has the list."""
