"""A sync becomes rows: the one writer of files and of availability."""
