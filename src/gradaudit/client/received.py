"""The model that a client received, and what the client can compare it with, before it trains on a private example."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..models.copying import private_copy
from ..protocol.local_training import CrossEntropy
from ..values.errors import AuditError, guarded
from ..values.types import LossFunction, Normalisation

FAN_IN, ROWS = 64, 32  # smallest matrix in which the structure of rows says something; drops depthwise kernels
SAMPLED = 384  # rows of a matrix that are compared
POSITIONAL = re.compile(r"(?:arr_)?(\d+)")
LISTED = 8  # names in a message


@dataclass(frozen=True, eq=False)
class Received:
    """A received model as the detectors see it; `received` makes one.

    Args:
        weights: Name -> parameter or buffer, dense, in single or double precision, on the CPU.
        model: The client's architecture with these weights, in evaluation mode, or `None` if they do not fit it.
        own: Name -> shape of every tensor of the client's own architecture, or `None` if it is the received one.
        before: Name -> tensor of the model of the round before, or `None`.
        inputs: `[B, ...]`, a batch of the client as the model takes it, or `None`.
        labels: `[B, ...]`, or `None`.
        loss: The client's training loss.
        digests: Name of another client -> digest of the model that it received in this round, or `None`.
        seed: Seed of the rows that are sampled. It is drawn anew for every model, so that the server cannot know them.
    """

    weights: Mapping[str, Tensor]
    model: nn.Module | None
    own: Mapping[str, tuple[int, ...]] | None
    before: Mapping[str, Tensor] | None = None
    inputs: Tensor | None = None
    labels: Tensor | None = None
    loss: LossFunction = CrossEntropy()
    digests: Mapping[str, str] | None = None
    seed: int = field(default_factory=lambda: secrets.randbits(48))

    @cached_property
    def matrices(self) -> dict[str, Tensor]:
        """Name -> weight as a matrix `[outputs, inputs]`: those with fan-in >= 64 and >= 32 rows, at most 384 sampled.

        The filters of a convolution are the rows; inputs and positions of the kernel are the columns.
        """
        return {name: value[self.rows_of(name)] for name, value in matrices_of(self.weights).items()}

    def rows_of(self, name: str) -> Tensor:
        """Return the numbers of the rows of a weight that are sampled, ascending."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(self.weights[name]), generator=generator)[:SAMPLED].sort().values

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights: names, shapes and values in single precision, in the order of the names."""
        return digest_of(self.weights)


def received(
    model: nn.Module,
    weights: Mapping[str, Any] | None = None,
    *,
    before: nn.Module | Mapping[str, Any] | None = None,
    inputs: Tensor | None = None,
    labels: Tensor | None = None,
    loss: LossFunction | None = None,
    normalisation: Normalisation | None = None,
    digests: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> Received:
    """Return a received model as the detectors see it; `model` is not modified.

    Args:
        model: The client's own architecture; with the received weights if `weights` is `None`.
        weights: Name -> array or tensor as the server sent them; a positional list has the names `0`, `1`, ... or
            `arr_0`, `arr_1`, ...
        before: The model of the round before, or its tensors.
        inputs: `[B, ...]`, private examples.
        labels: `[B, ...]`.
        loss: The client's training loss; cross-entropy by default.
        normalisation: What the client applies to images before the model.
        digests: Name of another client -> digest of the model that it received in this round.
        seed: Seed of the rows that are sampled; by default one that nobody can predict.

    Raises:
        AuditError: The model has no parameters or one without values; a tensor is quantised, complex, NaN or infinite;
            or a digest is none.
    """
    _require_values(model)
    own = dict(_tensors(model))
    found = _dense(own if weights is None else named_as(weights, list(own)))
    last = None
    if before is not None:
        last = _dense(dict(_tensors(before)) if isinstance(before, nn.Module) else named_as(before, list(own)))
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    return Received(
        weights=found,
        model=_loaded(model, found) if not differences(shapes, _shapes(found)) else None,
        own=None if weights is None else shapes,
        before=last,
        inputs=inputs if inputs is None else (normalisation or Normalisation()).apply(inputs),
        labels=labels,
        loss=loss or CrossEntropy(),
        digests=None if digests is None else {name: _digest(name, value) for name, value in digests.items()},
        seed=secrets.randbits(48) if seed is None else seed,
    )


def matrices_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return name -> matrix `[outputs, inputs]` of the weights with fan-in >= 64 and >= 32 rows."""
    flat = {name: value.flatten(1) for name, value in weights.items() if value.ndim > 1 and value.numel()}
    return {name: value for name, value in flat.items() if value.shape[1] >= FAN_IN and len(value) >= ROWS}


def differences(own: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return in words which tensors two architectures do not share; counters of BatchNorm may be missing.

    Args:
        own: Name -> shape of the first architecture.
        other: Name -> shape of the second one.
    """
    counters = {name for name in own.keys() ^ other.keys() if name.endswith("num_batches_tracked")}
    lines = [f"{name} is new" for name in other if name not in own and name not in counters]
    lines += [f"{name} is missing" for name in own if name not in other and name not in counters]
    for name in own.keys() & other.keys():
        if own[name] != other[name]:
            lines.append(f"{name} has shape {list(other[name])} instead of {list(own[name])}")
    return tuple(lines)


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: names, shapes and values in single precision, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().float().contiguous()
        found.update(f"{name}{list(value.shape)}".encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()


def named_as(arrays: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return arrays under the model's names: those of a positional list get the names in their order, if they fit."""
    places = [POSITIONAL.fullmatch(name) for name in arrays]
    if arrays and len(arrays) == len(names) and all(places):
        return dict(zip(names, arrays.values(), strict=True))
    return dict(arrays)


def _tensors(model: nn.Module) -> list[tuple[str, Any]]:
    return list(model.state_dict().items())


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


def _require_values(model: nn.Module) -> None:
    """Raise `AuditError` if a model has no tensors, or one without values."""
    if not any(True for _ in model.parameters()) and not model.state_dict():
        raise AuditError("model: it has no parameters, so it learns nothing and shares nothing.")
    for name, value in model.named_parameters():
        if is_lazy(value) or value.is_meta:
            raise AuditError(f"model: {name} has no values yet (lazy, or on the meta device); run the model once.")


def _dense(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return all tensors on the CPU, floats in at least single precision; raise `AuditError` for quantised ones."""
    found = {}
    for name, value in arrays.items():
        if name.endswith(("_packed_params", "._packed_params.dtype", ".scale", ".zero_point")) and _packed(arrays):
            raise AuditError(f"{name}: {QUANTISED}")
        if not isinstance(value, Tensor):
            with guarded(f"{name}: it is no array of numbers"):
                value = torch.as_tensor(value)
        value = value.detach()
        if value.is_quantized or (value.ndim > 1 and not value.is_floating_point() and "int8" in str(value.dtype)):
            raise AuditError(f"{name}: {QUANTISED}")
        if value.is_complex():
            raise AuditError(f"{name}: it is complex; the detectors read real weights. Convert it with view_as_real.")
        value = value.cpu().to_dense() if value.layout != torch.strided else value.cpu()
        if value.is_floating_point():
            value = value if value.dtype == torch.float64 else value.float()
            if not value.isfinite().all():
                raise AuditError(f"{name}: it contains NaN or infinity, so this model cannot be judged or trained.")
        found[name] = value
    return found


QUANTISED = "it is quantised, and its structure is that of the grid. Check the weights before they are quantised."


def _packed(arrays: Mapping[str, Any]) -> bool:
    return any("_packed_params" in name for name in arrays)


def _loaded(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a private copy with these weights on the CPU, in evaluation mode and at least single precision."""
    copied = private_copy(model).cpu().eval()
    wide = any(value.dtype == torch.float64 for value in copied.parameters())
    copied = copied if wide else copied.float()
    own = copied.state_dict()  # keeps the versions of its modules, which some of them need
    own.update({name: value for name, value in weights.items() if name in own})
    copied.load_state_dict(own)
    return copied


def _digest(name: str, value: str) -> str:
    text = str(value).strip().lower()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise AuditError(f"digest of {name}: should be 64 hexadecimal digits, as gradaudit prints them. Found {value}.")
    return text


def shortened(lines: tuple[str, ...]) -> str:
    """Return the first lines as one text, and how many are left out."""
    more = f" and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    return ", ".join(lines[:LISTED]) + more


def chance_loss(received: Received) -> float | None:
    """Return log K, the loss of guessing one of K classes, or `None` if the model has no logits `[B, K]`."""
    if received.model is None or received.inputs is None:
        return None
    with torch.no_grad():
        output = received.model(received.inputs[:1].clone())
    return math.log(max(2, output.shape[1])) if isinstance(output, Tensor) and output.ndim == 2 else None
