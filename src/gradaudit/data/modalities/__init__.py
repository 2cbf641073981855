"""The handling of images, text and rows of a table: one file for each modality, and functions to look them up."""

from __future__ import annotations

import inspect
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from ...values.discovery import Registry
from ...values.errors import AuditError
from ...values.types import Batch, Modality
from ._handling import Handling, Matched, ModelOptions

_LAST: WeakKeyDictionary[Batch, tuple[ref[Any], Tensor]] = WeakKeyDictionary()


def _name(value: Any) -> str | None:
    if inspect.isclass(value) and issubclass(value, Handling) and not inspect.isabstract(value):
        return str(value.modality)
    return None


HANDLINGS: Registry[type[Handling]] = Registry(__name__, "gradaudit.modalities", _name)
"""Name of each modality -> how its examples are handled."""


def kind_of(modality: Modality) -> type[Handling]:
    """Return the class that handles examples of `modality`.

    Raises:
        AuditError: No installed package handles this modality.
    """
    if modality not in HANDLINGS:
        raise AuditError(f"modality: no installed package handles {modality}. Known: {', '.join(HANDLINGS)}.")
    return HANDLINGS[modality]


def handling_of(modality: Modality) -> Handling:
    """Return the default handling of `modality`, for an unknown source. Raises the errors of `kind_of`."""
    return kind_of(modality)()


def check_inputs(batch: Batch, model: nn.Module, name: str) -> None:
    """Raise `AuditError` with the fix if `model`, called `name`, cannot take the inputs of the batch."""
    handling_of(batch.modality).check(batch, model, name)


def check_public(public: Tensor, batch: Batch) -> None:
    """Raise `AuditError` if public examples differ from the private ones of `batch` in shape or range."""
    handling_of(batch.modality).check_public(public, batch)


def private_among(public: Batch | Tensor, batch: Batch) -> Tensor:
    """Return which public examples `[N, ...]` equal or nearly equal a private one: `[N]` booleans on the CPU.

    The last result for a batch is cached, because both the audit and the client need it.
    """
    known = _LAST.get(batch)
    if known is not None and known[0]() is public:
        return known[1]
    inputs = public.inputs if isinstance(public, Batch) else public
    found = handling_of(batch.modality).duplicates(inputs, batch)
    _LAST[batch] = (ref(public), found)
    return found


__getattr__ = HANDLINGS.attribute
__dir__ = HANDLINGS.attributes

__all__ = [
    "HANDLINGS",
    "Handling",
    "Matched",
    "ModelOptions",
    "check_inputs",
    "check_public",
    "handling_of",
    "kind_of",
    "private_among",
]
