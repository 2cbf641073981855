"""`gradaudit inspect --data DATA`: the batch, and with `--noise` what its gradient determines without any attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..values.errors import AuditError
from ..values.terminal import echo
from .inspect_model import ModelRequest, Resolved, by
from .recoverability import noise_levels, show_rows

if TYPE_CHECKING:
    from torch import Tensor

    from ..audit.recoverable import Recoverability

BATCH = 8  # examples of --data if no --batch-size is given
OTHERS = 256  # images of the source from which the prior variance is taken
LABELS = "The data has no classes: the labels 0, 1, 2, ... were assumed."


@dataclass(frozen=True, eq=False)
class GivenBatch:
    """The first examples of `--data`.

    Args:
        source: The opened data.
        inputs: `[B, ...]`.
        labels: `[B]` classes, or `None` if the data has none.
        words: The batch in words.
    """

    source: Any
    inputs: Tensor
    labels: Tensor | None
    words: str


def levels_of(asked: ModelRequest, noise: str | None) -> list[float]:
    """Return the numbers of `--noise`, none without it; raise `AuditError` if they are none, or there is no batch."""
    if noise is None:
        return []
    if asked.data is None:
        raise AuditError("--noise: is for a batch of your own. Name it with --data.")
    return noise_levels(noise)


def batch_of(asked: ModelRequest, found: Resolved) -> GivenBatch | None:
    """Return the first examples of `--data`, or `None` without it; raise `AuditError` if they do not fit the model."""
    if asked.data is None:
        return None
    import torch

    from ..data.modalities import handling_of
    from ..inspection.static_risk import vocabulary_of
    from ..inspection.tracing import runnable
    from ..values.types import Modality

    source = _source(asked.data, found)
    size = min(BATCH, len(source)) if asked.batch_size is None else asked.batch_size
    if size > len(source):
        raise AuditError(f"--batch-size: {size} is more than the {len(source)} examples of --data.")
    if found.modality is not Modality.TEXT and tuple(source.shape) != found.shape:
        raise AuditError(f"--data: its examples have shape {by(source.shape)}, but the model's {by(found.shape)}.")
    labels = None if source.labels is None else source.labels[:size]
    placeholder = torch.zeros(size, dtype=torch.long) if labels is None else labels
    inputs = handling_of(found.modality).gather(source, list(range(size)), placeholder).inputs
    if found.modality is Modality.TEXT and int(inputs.max()) >= vocabulary_of(runnable(found.model), found.shape):
        raise AuditError(
            "--data: its vocabulary is larger than the model's embedding; give texts of its own vocabulary."
        )
    return GivenBatch(source, inputs, labels, f"the first {size} of {source.description}")


def _source(data: str, found: Resolved) -> Any:
    """Return the opened source; raise `AuditError` if the data is of another kind than the model's examples."""
    from ..data.sources.folder import Folder
    from ..data.sources.npz import Npz
    from ..data.sources.photographs import Photographs
    from ..data.sources.table_files import Tables
    from ..data.sources.texts import Texts
    from ..values.types import Modality

    path = Path(data)
    if found.modality is Modality.TEXT:
        return Texts(None if data == Texts.name else path, max_tokens=found.shape[0]).open()
    if found.modality is Modality.TABLE:
        return Tables(None if data == Tables.name else path).open()
    if data == "photographs":
        return Photographs(size=found.shape[-1]).open()
    if path.is_dir():
        return Folder(path, size=found.shape[-1]).open()
    if path.suffix != ".npz":
        raise AuditError(f"--data: must be a folder of images, an .npz file, or photographs. Found {data}.")
    return Npz(path).open()


def determined(found: Resolved, given: GivenBatch | None, noise: Sequence[float]) -> list[Recoverability]:
    """Return the recoverability of a batch at every noise level; raise `AuditError` if its examples are no images."""
    if given is None or not noise:
        return []
    import torch

    from ..audit.recoverable import prior_variance, recoverability
    from ..client.participant import Client
    from ..inspection.tracing import runnable
    from ..values.types import Batch, Modality

    if found.modality is not Modality.PICTURES:
        raise AuditError("--noise: the recoverability is that of images, and this model takes none.")
    model, labels, size = runnable(found.model), given.labels, len(given.inputs)
    assumed = () if labels is not None else (LABELS,)
    if labels is None:
        with torch.no_grad():
            labels = torch.arange(size) % model(given.inputs).shape[-1]
    batch, rest = Batch(given.inputs, labels), range(size, min(len(given.source), size + OTHERS))
    variance, remark = prior_variance(batch, None, given.source.stack(list(rest)) if rest else given.inputs[:0])
    rows = recoverability(Client(model), batch, noise, variance=variance)
    said = (f"On {given.words}; one gradient, BatchNorm in evaluation mode.", *assumed, remark)
    return [replace(row, remarks=(*said, *row.remarks)) for row, _ in rows]


def show_determined(rows: list[Recoverability]) -> None:
    """Print the recoverability of a batch under a heading, and what was assumed."""
    if rows:
        echo("What the gradient determines, without any attack")
        show_rows(rows)
