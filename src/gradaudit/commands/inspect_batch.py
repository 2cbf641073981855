"""`gradaudit inspect --data DATA --noise S`: what the gradient of a batch determines, without any attack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..values.errors import AuditError
from .inspect_model import ModelRequest, batch_of, one_thread, resolved, source_of
from .listings import show
from .recoverability import noise_levels

if TYPE_CHECKING:
    from ..audit.recoverable import Recoverability

OTHERS = 256  # images of the source from which the prior variance is taken
LABELS = "The data has no classes: the labels 0, 1, 2, ... were assumed."


def determined(asked: ModelRequest, noise: str | None) -> list[Recoverability]:
    """Return the recoverability of the batch of `--data` at every noise level; nothing without `--noise`.

    Raises:
        AuditError: There is no `--data`, the noise is no list of numbers, or the examples are not images.
    """
    if noise is None:
        return []
    if asked.data is None:
        raise AuditError("--noise: is for a batch of your own. Name it with --data.")
    levels = noise_levels(noise)
    import torch

    from ..audit.recoverable import prior_variance, recoverability
    from ..client.participant import Client
    from ..inspection.tracing import runnable
    from ..values.types import Batch, Modality

    with one_thread():
        found = resolved(asked)
        if found.modality is not Modality.PICTURES:
            raise AuditError("--noise: the recoverability is that of images, and this model takes none.")
        inputs, labels, words = batch_of(asked, found)
        model = runnable(found.model)
        assumed = () if labels is not None else (LABELS,)
        if labels is None:
            with torch.no_grad():
                labels = torch.arange(len(inputs)) % model(inputs).shape[-1]
        source, size = source_of(asked, found), len(inputs)
        others = source.stack(list(range(size, min(len(source), size + OTHERS)))) if len(source) > size else inputs[:0]
        batch = Batch(inputs, labels)
        variance, remark = prior_variance(batch, None, others)
        rows = recoverability(Client(model), batch, levels, variance=variance)
        said = (f"On {words}; one gradient, BatchNorm in evaluation mode.", *assumed, remark)
        return [replace(row, remarks=(*said, *row.remarks)) for row, _ in rows]


def show_determined(rows: list[Recoverability]) -> None:
    """Print the recoverability of a batch, and what was assumed."""
    if not rows:
        return
    from ..report.determined import HEADINGS, cells
    from ..values.terminal import echo

    echo("What the gradient determines, without any attack")
    show(HEADINGS, map(cells, rows))
    for line in dict.fromkeys(remark for row in rows for remark in row.remarks):
        echo(line)
