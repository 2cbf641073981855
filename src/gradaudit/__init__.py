"""Audit what a federated-learning client leaks through the update it shares.

The public names load on first use, so that the command line can answer without importing torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Batch": "types",
    "Client": "client",
    "FedAvg": "local_training",
    "FedSGD": "local_training",
    "Finding": "finding",
    "Knowledge": "types",
    "Level": "types",
    "LocalTraining": "local_training",
    "Normalisation": "types",
    "Observation": "observation",
    "Reconstruction": "types",
    "SecureAggregation": "aggregation",
    "Update": "types",
}
_ROOMS = ("attacks", "audit", "defenses", "inversion", "metrics")

__all__ = [*_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
