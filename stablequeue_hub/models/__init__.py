"""Questions to the registry: look-up, availability, matrix, details."""
