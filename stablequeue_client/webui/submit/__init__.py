"""The Queue button: what Generate would take becomes a job, kept here until the hub has it."""
