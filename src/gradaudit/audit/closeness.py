"""How close an update that was computed again is to the observed one, and how much of the rest rounding explains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..values.records import Number
from ..values.types import Update, UpdateKind

NEAR = 1e-3  # relative distance below which two updates are equal, as for a verified reconstruction
ROUNDED = 8.0  # factor on the spacing of half-precision numbers, for their rounding during the computation
ONE_TENSOR = 10.0  # factor on the bound of all tensors together, for each of them
FLOOR = 1e-3  # share of the whole norm below which a tensor is compared with that share: it holds rounding errors
BLUNT = 0.25  # bound above which the comparison says nothing
TOTAL_SPREAD, TENSOR_SPREAD = 1.25, 2.0  # factors on the spread of the client's own runs


@dataclass(frozen=True)
class Gap:
    """The distance of a recomputed update to the observed one.

    Args:
        error: L2 norm of the difference, as a share of the observed norm.
        cosine: Cosine of the two as single vectors.
        worst: Largest error of one tensor, as a share of its own norm.
        tensor: Name of that tensor.
        near: Whether rounding explains the difference, or chance where the client draws random numbers.
    """

    error: Number
    cosine: Number
    worst: Number
    tensor: str
    near: bool

    @property
    def direction(self) -> float:
        """The error that is left after the best rescaling: the sine of the angle between the two."""
        return math.sqrt(max(0.0, 1 - self.cosine**2)) if math.isfinite(self.cosine) else math.inf


@dataclass(frozen=True, eq=False)
class ObservedTarget:
    """The observed update, and how exactly it can be reproduced.

    Args:
        tensors: Name -> tensor, in double precision.
        relative: Relative error that counts as rounding.
        rounding: Name -> L2 norm of the rounding errors of the weights, in a difference of two of them.
    """

    tensors: Mapping[str, Tensor]
    relative: float
    rounding: Mapping[str, float]

    @classmethod
    def of(cls, update: Update, model: nn.Module, stored: torch.dtype | None = None) -> ObservedTarget:
        """Return the target for an update of `model`.

        Args:
            update: The update.
            model: The model from before the training.
            stored: Precision in which the values were stored; by default that of the tensors, or a coarser one to which
                all of them are rounded.
        """
        weights = {name: parameter for name, parameter in model.named_parameters() if name in update.tensors}
        difference = update.kind is UpdateKind.WEIGHT_DIFFERENCE
        found = stored or _precision(update, weights if difference else {})
        kinds = {found, *(weight.dtype for weight in weights.values()), *(tensor.dtype for tensor in update.values)}
        spacing = max((torch.finfo(kind).eps for kind in kinds if kind and kind.is_floating_point), default=0.0)
        rounding = {name: spacing * float(weight.detach().double().norm()) for name, weight in weights.items()}
        tensors = {name: tensor.detach().double() for name, tensor in update.tensors.items()}
        return cls(tensors, max(NEAR, ROUNDED * spacing), rounding if difference else {})

    @property
    def norm(self) -> float:
        """L2 norm of all tensors as one vector."""
        return _norm(self.tensors.values())

    @property
    def tolerance(self) -> float:
        """Relative error of all tensors together that counts as rounding."""
        return self.relative + math.hypot(*self.rounding.values()) / max(self.norm, 1e-30)

    @property
    def blunt(self) -> bool:
        """Whether the update is stored so coarsely that nothing follows from a comparison."""
        return self.tolerance > BLUNT

    def gap(self, predicted: Mapping[str, Tensor]) -> Gap:
        """Return the distance of a predicted update; a tensor that one side lacks counts as zeros."""
        whole, found = self.norm, {}
        near, square, inner, length = True, 0.0, 0.0, 0.0
        for name in dict.fromkeys((*self.tensors, *predicted)):
            left, right = predicted.get(name), self.tensors.get(name)
            mine = torch.zeros_like(right) if left is None else left  # type: ignore[arg-type]
            theirs = torch.zeros_like(mine) if right is None else right
            distance, size, own = _norm([mine - theirs]), _norm([mine]), _norm([theirs])
            unit = max(size, own, FLOOR * whole, 1e-30)
            found[name] = distance / unit
            near &= found[name] <= ONE_TENSOR * (self.relative + self.rounding.get(name, 0.0) / unit)
            square, length = square + distance**2, length + size**2
            inner += float((mine * theirs).sum())
        error = math.sqrt(square) / max(whole, 1e-30)
        cosine = inner / max(whole * math.sqrt(length), 1e-30)
        worst = max(found, key=lambda name: found[name], default="")
        return Gap(error, cosine, found.get(worst, 0.0), worst, near and error <= self.tolerance)


def within_chance(target: ObservedTarget, runs: list[dict[str, Tensor]], factor: float = 1.0) -> bool:
    """Return whether the observed update looks like one more of the client's own `runs` times `factor`.

    Its distance to their mean is compared with that of every run to the mean of the others, tensor by tensor.
    """
    mean, size = mean_of(runs), len(runs)
    if set(mean) != set(target.tensors):
        return False
    observed = {name: _norm([target.tensors[name] - factor * value]) for name, value in mean.items()}
    others = abs(factor) * size / (size - 1)  # a run is this much farther from the mean of the others
    own = [{name: others * _norm([run[name] - value]) for name, value in mean.items()} for run in runs]
    slack = target.tolerance * target.norm
    total, totals = math.hypot(*observed.values()), [math.hypot(*one.values()) for one in own]
    if not min(totals) / TOTAL_SPREAD - slack <= total <= max(totals) * TOTAL_SPREAD + slack:
        return False
    return all(far <= TENSOR_SPREAD * max(one[name] for one in own) + slack for name, far in observed.items())


def mean_of(runs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several updates."""
    return {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}


def fitted_factor(target: ObservedTarget, predicted: Mapping[str, Tensor]) -> float:
    """Return the factor on the predicted update that fits the observed one best, over the tensors that both have."""
    both = [(predicted[name], target.tensors[name]) for name in predicted if name in target.tensors]
    inner = sum(float((mine * theirs).sum()) for mine, theirs in both)
    square = sum(float(mine.square().sum()) for mine, _ in both)
    return inner / square if square else 0.0


def _precision(update: Update, weights: Mapping[str, Tensor]) -> torch.dtype | None:
    """Return the half precision to which the values, or the weights after training, are rounded, or `None`."""
    after = [(weights[name] - value, weights[name]) for name, value in update.tensors.items() if name in weights]
    for kind in (torch.bfloat16, torch.float16):
        if all(tensor.equal(tensor.to(kind).to(tensor.dtype)) for tensor in update.values):
            return kind
        if after and all(_rounded_to(kind, value.detach(), before.detach()) for value, before in after):
            return kind
    return None


def _rounded_to(kind: torch.dtype, value: Tensor, before: Tensor) -> bool:
    """Return whether a weight is rounded to `kind`, up to the rounding of its difference to the one before."""
    slack = 4 * torch.finfo(value.dtype).eps * before.abs().maximum(value.abs())
    return bool(((value - value.to(kind).to(value.dtype)).abs() <= slack).all())


def _norm(tensors: object) -> float:
    return math.hypot(*(float(tensor.norm()) for tensor in tensors))  # type: ignore[attr-defined]
