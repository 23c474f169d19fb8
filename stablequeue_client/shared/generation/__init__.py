"""What a generation or a picture names, and the proof that it was made with the right files."""
