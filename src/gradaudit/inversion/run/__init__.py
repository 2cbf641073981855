"""One run of an attack: its stages, restarts, checkpoints, and the families of attacks."""
