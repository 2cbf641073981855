"""The audit: the audit file, the plan that it resolves to, the cases of the plan, and their scoring.

The names load on first use, so that an audit file can be read without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assessment import Assessment, assess
    from .controls import ControlScore, positive_control, prior_only
    from .judge import Audited, Case, audit, audit_together, match, score
    from .recoverable import Recoverability, recoverability
    from .self_checking import SelfCheck, self_check

_HOME = {
    "Assessment": "assessment",
    "Audited": "judge",
    "Case": "judge",
    "ControlScore": "controls",
    "Recoverability": "recoverable",
    "SelfCheck": "self_checking",
    "assess": "assessment",
    "audit": "judge",
    "audit_together": "judge",
    "match": "judge",
    "positive_control": "controls",
    "prior_only": "controls",
    "recoverability": "recoverable",
    "score": "judge",
    "self_check": "self_checking",
}

__all__ = [
    "Assessment",
    "Audited",
    "Case",
    "ControlScore",
    "Recoverability",
    "SelfCheck",
    "assess",
    "audit",
    "audit_together",
    "match",
    "positive_control",
    "prior_only",
    "recoverability",
    "score",
    "self_check",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
