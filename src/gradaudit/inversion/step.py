"""The gradient of the matching loss with respect to a candidate: the whole cost of an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..local_training import LocalTraining
from ..types import Observation, Tensors
from .attack import Labels, Progress, Term

BoundTerm = tuple[Term, Callable[[Tensor, Progress], Tensor]]


class Slope(NamedTuple):
    """What one evaluation gives for one seed: the objective, and the gradient of the whole loss.

    Args:
        objective: Scalar, without the priors, detached.
        inputs: `[B, C, H, W]`.
        labels: `[B, K]` where labels are optimised, else `None`.
    """

    objective: Tensor
    inputs: Tensor
    labels: Tensor | None


@dataclass(frozen=True, eq=False)
class Matching:
    """One observation and one bound objective: the loss whose gradient the loop follows.

    Args:
        seen: With the run's private copy of the model.
        distance: The bound objective.
    """

    seen: Observation
    distance: Callable[[Tensors, Tensors, Progress], Tensor]

    def simulate(self, inputs: Tensor, labels: Tensor, *, differentiable: bool = False) -> Tensors:
        """The update that the client would share, had it trained on `inputs` `[B, C, H, W]`, before any defense."""
        seen = self.seen
        training = seen.training or LocalTraining(seen.loss, batch_norm=seen.batch_norm)  # type: ignore[arg-type]
        return training(seen.model, inputs, Labels.target(labels), differentiable=differentiable)

    def compare(self, update: Tensors, at: Progress) -> Tensor:
        """The objective between a simulated update, defended where the defense is known, and the observed one."""
        observed = self.seen.update.values
        for defense in self.seen.defenses or ():
            update = defense.simulate(update, observed)
        return self.distance(update, observed, at)

    def value(self, inputs: Tensor, labels: Tensor, at: Progress) -> Tensor:
        """The objective alone, detached."""
        with torch.no_grad():
            return self.compare(self.simulate(inputs, labels), at)

    def slope(self, inputs: Tensor, labels: Tensor, terms: list[BoundTerm], at: Progress) -> Slope:
        """Objective and gradient by reverse over reverse.

        With g the simulated update and D the objective, v = ∂D/∂g is taken on the detached g, and one backward pass
        through g weighted by v gives ∂D/∂x = (∂g/∂x)ᵀ v, for the candidate alone.
        """
        x = inputs.detach().requires_grad_()
        y = labels.detach().requires_grad_() if labels.is_floating_point() else labels
        update = self.simulate(x, y, differentiable=True)
        leaves = tuple(tensor.detach().requires_grad_() for tensor in update)
        objective = self.compare(leaves, at)
        pull = torch.autograd.grad(objective, leaves, allow_unused=True)
        pairs = [(g, v) for g, v in zip(update, pull, strict=True) if v is not None and g.requires_grad]
        for term, prior in terms:
            if term.acts(at):
                penalty = term.weight * prior(x, at)
                pairs.append((penalty, torch.ones_like(penalty)))
        outputs, weights = zip(*pairs, strict=True)
        wanted = (x, y) if y.requires_grad else (x,)
        found = torch.autograd.grad(outputs, wanted, weights, allow_unused=True, materialize_grads=True)
        return Slope(objective.detach(), found[0], found[1] if y.requires_grad else None)
