"""Audit what a federated-learning client leaks through the update that it shares.

The public names load on first use, so that the command line can answer without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        attacks,
        audit,
        capture,
        client,
        commands,
        comparison,
        data,
        execution,
        inspection,
        inversion,
        metrics,
        models,
        protocol,
        report,
        studies,
        values,
    )
    from .client.aggregation import SecureAggregation
    from .client.participant import Client
    from .execution import Listener
    from .inversion.attack import Attack
    from .inversion.run.adaptive import adaptive
    from .inversion.run.gradient_matching import GradientMatching
    from .protocol import defenses
    from .protocol.local_training import FedAvg, FedSGD, LocalTraining
    from .protocol.observation import Observation
    from .report.assertions import assert_no_leak
    from .report.auditing import run
    from .report.outcome import Run
    from .values.errors import AttackFailed, AuditError
    from .values.finding import Finding
    from .values.granting import level
    from .values.types import Batch, Knowledge, Level, Normalisation, Reconstruction, Update

    __version__: str

_HOME = {
    "Attack": "inversion.attack",
    "AttackFailed": "values.errors",
    "AuditError": "values.errors",
    "Batch": "values.types",
    "Client": "client.participant",
    "FedAvg": "protocol.local_training",
    "FedSGD": "protocol.local_training",
    "Finding": "values.finding",
    "GradientMatching": "inversion.run.gradient_matching",
    "Knowledge": "values.types",
    "Level": "values.types",
    "Listener": "execution",
    "LocalTraining": "protocol.local_training",
    "Normalisation": "values.types",
    "Observation": "protocol.observation",
    "Reconstruction": "values.types",
    "Run": "report.outcome",
    "SecureAggregation": "client.aggregation",
    "Update": "values.types",
    "adaptive": "inversion.run.adaptive",
    "assert_no_leak": "report.assertions",
    "level": "values.granting",
    "run": "report.auditing",
}
_ROOMS = {
    "attacks": "attacks",
    "audit": "audit",
    "capture": "capture",
    "client": "client",
    "commands": "commands",
    "comparison": "comparison",
    "data": "data",
    "defenses": "protocol.defenses",
    "execution": "execution",
    "inspection": "inspection",
    "inversion": "inversion",
    "metrics": "metrics",
    "models": "models",
    "protocol": "protocol",
    "report": "report",
    "studies": "studies",
    "values": "values",
}

__all__ = [
    "Attack",
    "AttackFailed",
    "AuditError",
    "Batch",
    "Client",
    "FedAvg",
    "FedSGD",
    "Finding",
    "GradientMatching",
    "Knowledge",
    "Level",
    "Listener",
    "LocalTraining",
    "Normalisation",
    "Observation",
    "Reconstruction",
    "Run",
    "SecureAggregation",
    "Update",
    "__version__",
    "adaptive",
    "assert_no_leak",
    "attacks",
    "audit",
    "capture",
    "client",
    "commands",
    "comparison",
    "data",
    "defenses",
    "execution",
    "inspection",
    "inversion",
    "level",
    "metrics",
    "models",
    "protocol",
    "report",
    "run",
    "studies",
    "values",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{_ROOMS[name]}", __name__)
    if name == "__version__":
        return import_module(".values.versions", __name__).version_of("gradaudit")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
