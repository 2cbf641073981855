"""The facts of federated learning that client and adversary share: local training, defenses, and the observation.

The attacks import this package, and never `client`, which holds the private examples.
"""
