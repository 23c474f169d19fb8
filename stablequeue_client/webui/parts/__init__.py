"""What the parts of the extension share, and what they know of each other."""
