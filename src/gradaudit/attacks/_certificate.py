"""Whether the update recomputed from a result is the observed one, and the label of a single example for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..inversion.parts.label_values import Labels
from ..inversion.parts.labels._head import displacement
from ..inversion.parts.labels.label_of_one import IDLG
from ..inversion.parts.vectors import norm
from ..inversion.step.matching import explains
from ..models.copying import private_copy
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Tensors


@torch.no_grad()
def recomputed(seen: Observation, inputs: Tensor, labels: Tensor) -> Tensors:
    """Return the update of a batch, normalised, by the training that the adversary assumes, without defenses."""
    return seen.assumed_training(private_copy(seen.model), inputs, labels)


@torch.no_grad()
def explains_at_some_rate(seen: Observation, update: Tensors, observed: Tensors) -> bool:
    """Return whether a recomputed update is the observed one, up to its length if the learning rate is unknown."""
    if rate_of(seen) is None:
        factor = norm(observed) / norm(update).clamp_min(1e-30)
        update = tuple(factor * one for one in update)
    return explains(update, observed)


def rate_of(seen: Observation) -> float | None:
    """Return the size of the update in units of the gradient, or `None` if it is unknown."""
    try:
        return displacement(seen)
    except AttackFailed:
        return None


def label_of_one(seen: Observation) -> Labels | None:
    """Return the label of one example, granted or by iDLG, or `None` if the update does not show it."""
    if seen.labels is not None:
        return Labels(seen.labels, granted=True)
    try:  # single precision: iDLG queries the model with such inputs
        return IDLG().infer(replace(seen, model=private_copy(seen.model).float()), 1)
    except AttackFailed:
        return None
