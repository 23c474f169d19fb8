"""The plumbing of requests and answers."""
