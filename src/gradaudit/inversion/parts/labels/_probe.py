"""Answers of the known model to the adversary's own inputs: the features before the last layer, and probabilities.

A private copy of the model runs, so the observation stays unchanged.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ....models.copying import private_copy
from ....protocol.local_training import batch_norm_mode
from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import UpdateKind
from ._head import NO_ROWS, ROUNDING, find_head
from ._search import features_of, noise, run

Inputs = Literal["auto", "noise", "public"]
CHUNK = 64  # inputs at once; also the batch that BatchNorm in training mode sees where the batch size is unknown
FEW = 8  # inputs by which to check whether features can be negative


class Answers(NamedTuple):
    """The model's answers to n inputs, in double precision on the CPU.

    Args:
        entering: `[n, m]`, the features that the last layer's weight multiplies, or `None` if no such weight was
            shared.
        probabilities: `[n, K]`.
        labels: `[n]` integers, if the inputs are public images with labels.
    """

    entering: Tensor | None
    probabilities: Tensor
    labels: Tensor | None = None

    @property
    def features(self) -> Tensor:
        """The features, `[n, m]`. Raises `AttackFailed` if there are none."""
        if self.entering is None:
            raise AttackFailed(NO_ROWS)
        return self.entering

    @property
    def masses(self) -> Tensor:
        """The sum of each input's features, `[n]`."""
        return self.features.sum(1)

    def lerp(self, end: Answers, way: float) -> Answers:
        """Return the interpolation towards another model's answers, a fraction `way` along the straight line.

        `end` must have as many inputs.
        """
        entering = None if self.entering is None else self.features.lerp(end.features, way)
        return Answers(entering, self.probabilities.lerp(end.probabilities, way), self.labels)


def ask(seen: Observation, inputs: Inputs, samples: int, end: bool = False) -> Answers:
    """Return the model's answers to noise or to public images.

    Args:
        seen: The observation with the model, and the public images if there are any.
        inputs: N(0, 1) noise in normalised space from torch's global generator, public images, or `"auto"`: public
            images if the adversary has some, otherwise noise.
        samples: Number of inputs; of public images the first ones, and fewer if there are fewer.
        end: Whether to query the model after the client's local training, `θ - Δ`, instead of the one before.

    Raises:
        AttackFailed: There are no public images, or no gradient of the update contains p - y.
    """
    labels = None
    if inputs == "public" or (inputs == "auto" and seen.public_data is not None):
        x, labels = public_inputs(seen, samples), seen.public_labels
    else:
        x = noise(seen, samples)
    features, logits = _forward(seen, x, end)
    return Answers(features, logits.softmax(1), None if labels is None else labels[:samples].cpu())


def public_inputs(seen: Observation, most: int) -> Tensor:
    """Return the first `most` public images, normalised. Raise `AttackFailed` if there are none."""
    if seen.public_data is None:
        raise AttackFailed("public images are needed, and none were given. Grant PUBLIC_DATA and set public_data.")
    x = seen.public_data[:most].to(seen.device)
    if not x.is_floating_point():
        return x
    return seen.normalisation.apply(x.to(next(seen.model.parameters())))


def require_nonnegative_features(seen: Observation) -> None:
    """Raise `AttackFailed` if some feature is negative on noise, for example behind GELU, SiLU or a LayerNorm."""
    features = ask(seen, "noise", FEW).features
    if features.min() < -ROUNDING * features.abs().max():
        raise AttackFailed(
            "the features before the last layer can be negative in this model, so the signs within a row of its "
            "gradient say nothing about the class. Choose bias-sign, bias-counts or ilrg."
        )


def require_positive_masses(seen: Observation, answers: Answers | None = None) -> None:
    """Raise `AttackFailed` if an input's features can sum to zero or less, so that row sums have no meaningful sign."""
    answers = answers or ask(seen, "noise", FEW)
    if answers.masses.min() <= ROUNDING * answers.features.abs().sum(1).max():
        raise AttackFailed(
            "the features before the last layer can sum to zero or less in this model, so the row sums of its "
            "gradient say nothing about the class. Choose bias-sign, bias-counts or ilrg."
        )


def _forward(seen: Observation, inputs: Tensor, end: bool) -> tuple[Tensor | None, Tensor]:
    model, name = _copy(seen, end), find_head(seen).weight
    model.requires_grad_(False)
    weight = dict(model.named_parameters())[name].requires_grad_(True) if name else None
    entered: list[Tensor] = []
    left: list[Tensor] = []
    size = CHUNK if seen.batch_norm == "eval" or seen.batch_size is None else max(2, seen.batch_size)
    with torch.set_grad_enabled(weight is not None), batch_norm_mode(model, seen.batch_norm):
        for chunk in inputs.split(min(size, CHUNK)):
            logits = run(model, chunk)
            left.append(logits.detach().double().cpu())
            if weight is not None:
                entered.append(features_of(weight, logits).double().cpu())
    return torch.cat(entered) if entered else None, torch.cat(left)


def _copy(seen: Observation, end: bool) -> nn.Module:
    model = private_copy(seen.model)
    if end and seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE:
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, difference in seen.update.tensors.items():
                parameters[name] -= difference
    return model
