"""Run an attack: its stages, restarts and checkpoints, and the families of attacks."""
