"""Model folders: walking, reading and hashing. The only room that opens a model file."""
