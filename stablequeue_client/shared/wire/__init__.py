"""Every message between the programs."""
