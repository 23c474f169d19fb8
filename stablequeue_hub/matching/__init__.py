"""Where a job can run, and why not elsewhere: the one judge."""
