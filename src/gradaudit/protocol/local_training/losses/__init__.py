"""The losses that a client may train with, one file each."""

from __future__ import annotations

from ....values.discovery import Registry, subclasses_of
from ._loss import ClassLoss, Loss, described, require_inferable, rules_of, tensors_of

LOSSES: Registry[type[Loss]] = Registry(__name__, "gradaudit.losses", subclasses_of(Loss))
"""Name in the audit file (`training.loss`) -> loss, whose fields are its options."""

__getattr__ = LOSSES.attribute

__all__ = ["LOSSES", "ClassLoss", "Loss", "described", "require_inferable", "rules_of", "tensors_of"]
