"""`gradaudit inspect` on the model that a client received: the detectors of modifications, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values.errors import AuditError, printable
from .inspect_batch import GivenBatch, batch_of
from .inspect_model import ModelRequest, Resolved, resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..client.model_check import ModelCheck

ALARM = 1  # exit code if a detector raises an alarm
QUANTISED = ("qint", "quint", "int8", "uint8")

ReceivedFile = Annotated[
    Path | None,
    typer.Option(
        "--received",
        metavar="FILE",
        help="Without an update: the weights that the server sent, or a capture of the round. Only the detectors of "
        "modified models run on them; --weights is then the file or the capture of the round before.",
    ),
]
OtherDigests = Annotated[
    list[str] | None,
    typer.Option(
        "--client-digest",
        metavar="NAME=DIGEST",
        help="Digest of the model that another client received in the same round, as this command prints it "
        "(repeatable).",
    ),
]


def check_resolved(found: Resolved, batch: GivenBatch | None, digests: Mapping[str, str] | None) -> ModelCheck:
    """Return what the detectors find in the weights of a model, with a batch if there is one."""
    return _checked(found.model, batch=batch, digests=digests)


def check_received(asked: ModelRequest, file: Path, digests: Mapping[str, str] | None) -> ModelCheck:
    """Return what the detectors find in the weights of a file.

    Args:
        asked: The client's own architecture; its `weights` are those of the round before.
        file: The received weights, or a capture that names them.
        digests: Name of another client -> digest.

    Raises:
        AuditError: A file cannot be read or holds quantised weights, or the data does not fit the model.
    """
    found = resolve(replace(asked, weights=None))
    batch = batch_of(asked, found)
    weights = tensors_of_round(file, found.model, "--received")
    before = None if asked.weights is None else tensors_of_round(asked.weights, found.model, "--weights")
    return _checked(found.model, weights, before, batch, digests)


def check_sent(model: nn.Module) -> ModelCheck:
    """Return what the detectors find in the weights that the server sent with a captured update."""
    return _checked(model)


def _checked(
    model: nn.Module,
    weights: Mapping[str, Tensor] | None = None,
    before: Mapping[str, Tensor] | None = None,
    batch: GivenBatch | None = None,
    digests: Mapping[str, str] | None = None,
) -> ModelCheck:
    from ..client.model_check import check_model
    from ..client.received import received

    inputs, labels = (None, None) if batch is None else (batch.inputs, batch.labels)
    return check_model(received(model, weights, before=before, inputs=inputs, labels=labels, digests=digests))


def tensors_of_round(path: Path, model: nn.Module, option: str) -> dict[str, Tensor]:
    """Return the weights of a file, or the global weights of the round that a capture belongs to, by model names.

    Raises:
        AuditError: The file cannot be read, is quantised, or is a capture without the global weights beside it.
    """
    from ..capture.opening import open_update
    from ..values.tensor_files import place, plain_name

    opened = open_update(path)
    if opened.stated.round or opened.stated.before:  # what a client sent, not what it received
        if opened.before is None:
            name = printable(opened.stated.before or path.name)
            raise AuditError(f"{option}: {path.name} is a capture without its global weights; put {name} beside it.")
        opened = open_update(opened.before)
    file = opened.file
    coarse = next((name for name, kind in file.stored.items() if kind.startswith(QUANTISED)), None)
    if coarse is not None and file.tensors[coarse] is not None and file.tensors[coarse].ndim > 1:  # type: ignore[union-attr]
        raise AuditError(f"{option}: {coarse} is quantised; give the weights from before they were quantised.")
    try:
        return dict(place(model, model.state_dict(), file, "weights", whole=True).tensors)
    except AuditError:  # another architecture, which is what a detector tells
        return {plain_name(str(name)): value for name, value in file.tensors.items() if value is not None}


def digests_of(texts: Sequence[str] | None) -> dict[str, str] | None:
    """Return name -> digest of the texts `NAME=DIGEST`, or `None` without one; raise `AuditError` for other texts."""
    if not texts:
        return None
    pairs = [text.partition("=") for text in texts]
    for text, (name, sign, digest) in zip(texts, pairs, strict=True):
        if not (name and sign and digest):
            raise AuditError(f"--client-digest: must be NAME=DIGEST. Found {text}.")
    return {name: digest for name, _, digest in pairs}
