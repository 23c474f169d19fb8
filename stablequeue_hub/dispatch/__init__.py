"""Who gets which job next; runs and leases."""
