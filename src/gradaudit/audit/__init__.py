"""The audit: the audit file, the plan that it resolves to, the cases of the plan, and their scoring.

The names load on first use, so that an audit file can be read without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .judge import Audited, Case, audit, audit_together, match, score

__all__ = ["Audited", "Case", "audit", "audit_together", "match", "score"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(".judge", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
