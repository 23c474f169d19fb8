"""What was: when servers were there, and what was made with which models. It outlives the jobs."""
