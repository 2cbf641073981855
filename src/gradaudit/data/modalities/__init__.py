"""What differs between pictures, text and rows of a table: one file each, and what the rest of the house asks them."""

from __future__ import annotations

from torch import Tensor, nn

from ...values.types import Batch, Modality
from . import images as pictures
from . import table, text
from .handling import Handling, Matched
from .images import ImageHandling, score_pictures, to_channels
from .table import TableHandling
from .text import TextHandling

_ROOMS = {Modality.PICTURES: pictures, Modality.TEXT: text, Modality.TABLE: table}
_PLAIN: dict[Modality, Handling] = {
    Modality.PICTURES: ImageHandling(),
    Modality.TEXT: TextHandling(),
    Modality.TABLE: TableHandling(),
}


def handling_of(modality: Modality) -> Handling:
    """How examples of `modality` are handled where nothing is known of their source."""
    return _PLAIN[modality]


def check_inputs(batch: Batch, model: nn.Module, name: str) -> None:
    """Raise `AuditError` where `model`, called `name`, cannot take the batch's inputs, saying what to mend."""
    _ROOMS[batch.modality].check(batch, model, name)


def check_public(public: Tensor, batch: Batch) -> None:
    """Raise `AuditError` where public examples are unlike the private ones of `batch`."""
    _ROOMS[batch.modality].check_public(public, batch)


def private_among(public: Batch | Tensor, batch: Batch) -> Tensor:
    """Which of the public examples `[N, ...]` are private ones of `batch`, exactly or nearly: `[N]`, on the CPU."""
    inputs = public.inputs if isinstance(public, Batch) else public
    return handling_of(batch.modality).duplicates(inputs, batch)


__all__ = [
    "Handling",
    "ImageHandling",
    "Matched",
    "TableHandling",
    "TextHandling",
    "check_inputs",
    "check_public",
    "handling_of",
    "private_among",
    "score_pictures",
    "to_channels",
]
