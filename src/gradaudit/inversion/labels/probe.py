"""What the known model answers to inputs of the adversary's own: features before the last layer, and probabilities.

A private copy of the model runs, so no hook stays behind.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import AttackFailed
from ...local_training import batch_norm_mode
from ...observation import Observation
from ...types import UpdateKind
from .head import ROUNDING, find_head

Inputs = Literal["auto", "noise", "public"]
CHUNK = 64  # inputs at once; also the batch that BatchNorm in training mode sees where the batch size is unknown
FEW = 8  # inputs that tell whether features can be negative


class Answers(NamedTuple):
    """The model's answers to n inputs, in double precision on the CPU.

    Args:
        features: `[n, m]`, what enters the last layer.
        probabilities: `[n, K]`.
        labels: `[n]` integers, where the inputs are public pictures with labels.
    """

    features: Tensor
    probabilities: Tensor
    labels: Tensor | None = None

    @property
    def masses(self) -> Tensor:
        """`[n]`, the sum of an input's features."""
        return self.features.sum(1)


def ask(seen: Observation, inputs: Inputs, samples: int, end: bool = False) -> Answers:
    """The answers to noise or to public pictures.

    Args:
        seen: The model, and the public pictures where there are any.
        inputs: N(0, 1) noise in normalised space from torch's global generator, public pictures, or `"auto"`: the
            pictures where the adversary holds some, else noise.
        samples: Inputs; of public pictures the first ones, and fewer where there are fewer.
        end: Ask the model after the client's local training, `θ - Δ`, instead of the one before.

    Raises:
        AttackFailed: There are no public pictures, or the last layer's output is not the model's.
    """
    labels = None
    if inputs == "public" or (inputs == "auto" and seen.public_data is not None):
        x, labels = public_inputs(seen, samples), seen.public_labels
    else:
        like = next(seen.model.parameters())
        x = torch.randn(samples, *seen.input_shape, device=like.device, dtype=like.dtype)
    features, logits = _forward(seen, x, end)
    return Answers(features, logits.softmax(1), None if labels is None else labels[:samples].cpu())


def public_inputs(seen: Observation, most: int) -> Tensor:
    """The first `most` public pictures, normalised; raises `AttackFailed` where there are none."""
    if seen.public_data is None:
        raise AttackFailed("public pictures are needed, and none were given. Grant PUBLIC_DATA and set public_data.")
    like = next(seen.model.parameters())
    return seen.normalisation.apply(seen.public_data[:most].to(like))


def require_nonnegative_features(seen: Observation) -> None:
    """Raise `AttackFailed` where noise shows features below zero, as behind GELU, SiLU or a LayerNorm."""
    features = ask(seen, "noise", FEW).features
    if features.min() < -ROUNDING * features.abs().max():
        raise AttackFailed(
            "the features before the last layer can be negative in this model, so the signs within a row of its "
            "gradient say nothing about the class. Take bias-sign, bias-counts or ilrg."
        )


def require_positive_masses(seen: Observation, answers: Answers | None = None) -> None:
    """Raise `AttackFailed` where an input's features can sum to zero or less, so that row sums carry no sign."""
    answers = answers or ask(seen, "noise", FEW)
    if answers.masses.min() <= ROUNDING * answers.features.abs().sum(1).max():
        raise AttackFailed(
            "the features before the last layer can sum to zero or less in this model, so the row sums of its "
            "gradient say nothing about the class. Take bias-sign, bias-counts or ilrg."
        )


def _forward(seen: Observation, inputs: Tensor, end: bool) -> tuple[Tensor, Tensor]:
    model = _copy(seen, end)
    name, _ = find_head(seen)
    entered: list[Tensor] = []
    left: list[Tensor] = []
    layer = model.get_submodule(name)
    layer.register_forward_pre_hook(_keep_input(entered))
    layer.register_forward_hook(lambda _, __, output: left.append(output.detach()))
    size = CHUNK if seen.batch_norm == "eval" or seen.batch_size is None else max(2, seen.batch_size)
    with torch.no_grad(), batch_norm_mode(model, seen.batch_norm):
        logits = torch.cat([model(chunk) for chunk in inputs.split(min(size, CHUNK))])
    features, outputs = torch.cat(entered), torch.cat(left)
    if outputs.shape != logits.shape or not torch.equal(outputs, logits):
        raise AttackFailed("the last linear layer's output is not the model's, so its gradient holds no p - y.")
    return features.double().cpu(), logits.double().cpu()


def _keep_input(kept: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _, arguments: kept.append(arguments[0].detach())


def _copy(seen: Observation, end: bool) -> nn.Module:
    model = deepcopy(seen.model)
    if end and seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE:
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, difference in seen.update.tensors.items():
                parameters[name] -= difference
    return model
