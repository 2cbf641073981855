"""The gradient of the matching loss with respect to a candidate, which dominates the cost of an attack (`routes`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Tensors
from ..parts.label_values import Labels
from ..parts.part import Progress, Simulated
from ..parts.vectors import Combination, norm
from .defended import UnderDefenses
from .one_step import OneStep, assumed_step
from .routes import BoundTerm, Point, Routes, Step

START, END = Progress(0, 1), Progress(1, 1)
VERIFIED = 1e-3  # relative distance of the recomputed update below which a candidate explains the observed one
NONE: Mapping[str, Tensor] = MappingProxyType({})


class Slope(NamedTuple):
    """The result of one evaluation for one seed: the objective, and the gradient of the whole loss.

    Args:
        objective: Scalar, without the priors, detached.
        total: Scalar, including the weighted priors that act, detached.
        inputs: `[B, C, H, W]`.
        others: `[B, K]` if labels are optimised, and one for each variable of the simulation.
    """

    objective: Tensor
    total: Tensor
    inputs: Tensor
    others: Tensors


class Matching:
    """The matching loss of one observation and one bound objective, whose gradient the loop follows.

    Args:
        seen: The observation with the run's private copy of the model.
        distance: The bound objective.
        step: The route to the gradient. `"auto"` is directional while it agrees with the exact one.
        one_step: `assumed_step(seen)`, created before any part was bound, because parts may hook the model.
        simulated: How a candidate becomes an update, if that is not the client's training as known.
        checkpoint: Whether to recompute local steps in the backward pass, if there are several.
    """

    def __init__(
        self,
        seen: Observation,
        distance: Callable[[Tensors, Tensors, Progress], Tensor],
        step: Step = "exact",
        one_step: OneStep | None = None,
        simulated: Simulated | None = None,
        checkpoint: bool = False,
    ) -> None:
        self.seen, self.distance, self.simulated = seen, distance, simulated
        self.under = UnderDefenses(seen.defenses, seen, distance) if seen.defenses else None
        self.training, self.checkpoint = seen.assumed_training, checkpoint
        self.one_step = None if simulated else one_step or assumed_step(seen)
        self.routes = Routes(
            step, self.one_step, lambda at: self.simulate(at.x, at.y, at.own, differentiable=True), self.pull
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes about a change of route."""
        return tuple(self.routes.notes)

    def simulate(
        self, inputs: Tensor, labels: Tensor, own: Mapping[str, Tensor] = NONE, *, differentiable: bool = False
    ) -> Tensors:
        """Return the update, before any defense, that the client would share after training on `inputs` `[B, C, H, W]`.

        Args:
            inputs: The candidate.
            labels: `[B]` integers or `[B, K]` logits.
            own: Variables of the simulation.
            differentiable: Whether to keep the graph.
        """
        target = Labels.target(labels, self.training.loss)
        if self.simulated is None:
            again = differentiable and self.checkpoint
            return self.training(self.seen.model, inputs, target, differentiable=differentiable, checkpoint=again)
        with torch.enable_grad():
            update = self.simulated(inputs, target, own)
        return update if differentiable else tuple(tensor.detach() for tensor in update)

    def compare(self, update: Tensors, at: Progress) -> Tensor:
        """Return the objective between a simulated update and the observed one, under the known defenses."""
        return (self.under or self.distance)(update, self.seen.update.values, at)

    def updates(self, inputs: Tensor, labels: Tensor, own: Mapping[str, Tensor] = NONE) -> tuple[Tensors, Tensors]:
        """Return a candidate's update, with the known defenses applied, and the observed one.

        The first has its graph if gradients are enabled.
        """
        update = self.simulate(inputs, labels, own, differentiable=torch.is_grad_enabled())
        observed = self.seen.update.values
        return self.under.pair(update, observed) if self.under else (update, observed)

    @torch.no_grad()
    def explained(self, inputs: Tensor, labels: Tensor, own: Mapping[str, Tensor] = NONE) -> bool:
        """Return whether the update of a candidate lies within a relative distance of 1e-3 of the observed one."""
        return explains(*self.updates(inputs, labels, own))

    def value(self, inputs: Tensor, labels: Tensor, at: Progress, own: Mapping[str, Tensor] = NONE) -> Tensor:
        """Return the objective alone, detached."""
        with torch.no_grad():
            return self.compare(self.simulate(inputs, labels, own), at)

    def flat(self, inputs: Tensor, labels: Tensor, own: Mapping[str, Tensor] = NONE) -> bool:
        """Return whether the objective is not 0 but its gradient in `inputs` is exactly 0: no step can lower it.

        This happens if autograd does not reach the input of the model, or if every unit behind it is inactive.
        """
        leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
        point = Point(inputs.detach().requires_grad_(), labels.detach(), (), START, leaves)
        found = replace(self.routes, step="exact").slope(point)
        return bool(found.value != 0) and not found.gradients[0].any()

    def pull(self, update: Tensors, at: Progress) -> tuple[Combination, Tensors]:
        """Return the objective D and v = ∂D/∂g at the simulated update g.

        An objective may provide v in closed form: a method `pull(candidate, observed, at) -> Combination`.

        Args:
            update: g, detached.
            at: Progress, passed to the objective.

        Returns:
            v as a combination of two lists of tensors: g and the second value. If no closed form is known or a defense
            is simulated, v itself is that second value.
        """
        closed, observed = getattr(self.distance, "pull", None), self.seen.update.values
        if closed is not None and self.under is None:
            with torch.no_grad():
                return closed(update, observed, at), observed
        leaves = tuple(tensor.detach().requires_grad_() for tensor in update)
        with torch.enable_grad():
            value = self.compare(leaves, at)
        found = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        value = value.detach()
        return Combination(value, torch.zeros_like(value), torch.ones_like(value), norm(found).square()), found

    def slope(
        self,
        inputs: Tensor,
        labels: Tensor,
        terms: Sequence[BoundTerm],
        at: Progress,
        own: Mapping[str, Tensor] = NONE,
    ) -> Slope:
        """Return the objective, and the gradient of the whole loss by the route of this matching."""
        y = labels.detach().requires_grad_() if labels.is_floating_point() else labels
        leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
        value, penalty, found = self.routes.slope(Point(inputs.detach().requires_grad_(), y, terms, at, leaves))
        return Slope(value, value if penalty is None else value + penalty, found[0], found[1:])


def explains(update: Tensors, observed: Tensors) -> bool:
    """Return whether a recomputed update lies within a relative distance of 1e-3 of the observed one."""
    gap = _length(tuple(u - o for u, o in zip(update, observed, strict=True)))
    return gap <= VERIFIED * _length(observed)


def _length(tensors: Tensors) -> float:
    """Return the L2 norm of all tensors in double precision, in which squares neither overflow nor vanish."""
    return float(torch.stack([torch.linalg.vector_norm(one, dtype=torch.float64) for one in tensors]).norm())


def comparable(terms: Sequence[BoundTerm], at: Progress) -> bool:
    """Return whether the priors that act now are those that act at the end.

    Otherwise the totals belong to different losses and must not be compared.
    """
    return all(term.acts(at) == term.acts(END) for term, _ in terms)


def without_slope(name: str) -> AttackFailed:
    """Return the error of an attack whose first candidates are all flat (`Matching.flat`)."""
    return AttackFailed(
        f"{name}: the objective does not depend differentiably on the input: its slope is exactly 0 at the start. Is "
        "the input processed by numpy or PIL, under detach or torch.no_grad(), or rounded? Write that part of the "
        "model in torch, as an adversary would."
    )
