"""What an adversary reads off the structure of a model: its token embedding, its attention blocks."""
