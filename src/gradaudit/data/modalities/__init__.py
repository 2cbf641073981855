"""What differs between pictures, text and rows of a table: one file each, and what the rest of the house asks them."""

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
    """How examples of `modality` are handled, before anything is known of their source.

    Raises:
        AuditError: No package that is installed handles them.
    """
    if modality not in HANDLINGS:
        raise AuditError(f"modality: no installed package handles {modality}. Known: {', '.join(HANDLINGS)}.")
    return HANDLINGS[modality]


def handling_of(modality: Modality) -> Handling:
    """How examples of `modality` are handled where nothing is known of their source; raises as `kind_of`."""
    return kind_of(modality)()


def check_inputs(batch: Batch, model: nn.Module, name: str) -> None:
    """Raise `AuditError` where `model`, called `name`, cannot take the batch's inputs, saying what to mend."""
    handling_of(batch.modality).check(batch, model, name)


def check_public(public: Tensor, batch: Batch) -> None:
    """Raise `AuditError` where public examples are unlike the private ones of `batch`."""
    handling_of(batch.modality).check_public(public, batch)


def private_among(public: Batch | Tensor, batch: Batch) -> Tensor:
    """Which of the public examples `[N, ...]` are private ones of `batch`, exactly or nearly: `[N]`, on the CPU.

    The last answer for a batch is kept, since both the audit and the client ask.
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
