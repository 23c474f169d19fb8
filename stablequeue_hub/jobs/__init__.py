"""Jobs as rows, and what can be done with them."""
