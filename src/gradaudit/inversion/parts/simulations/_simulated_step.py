"""What simulations share: a gradient of the client's loss at or near its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from ....protocol.local_training import InMode, LocalTraining, penalised
from ....protocol.observation import Observation
from ....values.types import Tensors


class Fixed:
    """The base class of simulations without variables of their own."""

    rates: ClassVar[Mapping[str, float]] = {}

    def start(self, seeds: int) -> dict[str, Tensor]:
        """Return no variables."""
        return {}

    def project(self, variables: Mapping[str, Tensor]) -> None:
        """Do nothing: there are no variables to project."""


class GradientNear:
    """The gradient of the client's loss over all examples, at its model or at other parameters.

    Args:
        seen: The observation whose model and loss are used; the client's BatchNorm mode is public.
    """

    def __init__(self, seen: Observation) -> None:
        self.model = seen.model
        self.training: LocalTraining = seen.assumed_training
        self.trained = {name: p for name, p in seen.model.named_parameters() if p.requires_grad}
        self.shared = list(self.training.shared_parameters(seen.model))
        self.start = tuple(self.trained[name] for name in self.shared)
        self.mode = InMode(seen.model, self.training.batch_norm)

    def __call__(self, inputs: Tensor, labels: Tensor, parameters: Sequence[Tensor] | None = None) -> Tensors:
        """Return the gradient of the shared parameters, with its graph to inputs, labels and `parameters`.

        Args:
            inputs: `[B, ...]`.
            labels: `[B]` integers or `[B, K]` probabilities.
            parameters: Values that replace the shared parameters; the client's own by default.
        """
        where = self.start if parameters is None else tuple(parameters)
        replaced = dict(zip(self.shared, where, strict=True))
        with self.mode:
            loss = penalised(
                self.training.loss(functional_call(self.model, replaced, (inputs,)), labels), self.model.modules()
            )
            return torch.autograd.grad(loss, where, create_graph=True, allow_unused=True, materialize_grads=True)
