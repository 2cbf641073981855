"""Audit what a federated-learning client leaks through the update it shares.

The public names load on first use, so that the command line can answer without importing torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Batch": "values.types",
    "Client": "client.participant",
    "FedAvg": "client.local_training",
    "FedSGD": "client.local_training",
    "Finding": "values.finding",
    "Knowledge": "values.types",
    "Level": "values.types",
    "LocalTraining": "client.local_training",
    "Normalisation": "values.types",
    "Observation": "client.observation",
    "Reconstruction": "values.types",
    "SecureAggregation": "client.aggregation",
    "Update": "values.types",
}
_ROOMS = {
    "attacks": "attacks",
    "audit": "audit",
    "defenses": "client.defenses",
    "inversion": "inversion",
    "metrics": "metrics",
}

__all__ = [*_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{_ROOMS[name]}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
