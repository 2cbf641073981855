"""What an adversary infers from the structure of a model: its token embedding and its attention blocks."""
