"""The victim: local training, defenses, the update that it shares, and what an adversary sees of it."""
