"""The two routes to the gradient of the matching loss with respect to a candidate.

For D the objective, g = ∂L/∂θ the simulated gradient and v = ∂D/∂g:

*exact*: reverse over reverse, ∂D/∂x = (∂g/∂x)ᵀ v, one backward pass through the backward pass.
*directional*: ∂D/∂x = ∂/∂x of the derivative of L along v, which is (∂L/∂x at θ + εv - ∂L/∂x at θ) / ε. The second term
is a by-product of g; the first costs one more forward and backward pass, on the branches of the first (`kinks`).

Counted in convolutions, exact costs 7/3 of a forward and backward pass, directional 5/3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ...values.types import Tensors
from ..parts.heap import reserve
from ..parts.part import Progress, Term
from ..parts.vectors import Combination, own
from .one_step import TINY, OneStep

BoundTerm = tuple[Term, Callable[[Tensor, Progress], Tensor]]
Step = Literal["exact", "directional", "auto"]

CHECK = 100  # evaluations from one check by "auto" against the exact gradient to the next: 1-2 % of the cost
OTHER_REACHES = (0.1, 10.0, 0.01)  # factors tried before "auto" gives up: the best one changes with the candidate
IN_PLACE = "leaf Variable that requires grad"  # torch's complaint about a model that changes its input
AGREE = 0.999  # smallest cosine of the two routes at which "auto" stays with the directional one


def weighted(terms: Sequence[BoundTerm], inputs: Tensor, at: Progress) -> list[Tensor]:
    """Return the priors that act at this point of the run, each times its weight."""
    return [term.weight * prior(inputs, at) for term, prior in terms if term.acts(at)]


class Point(NamedTuple):
    """The point at which the gradient is computed: leaf tensors, and the terms that act there."""

    x: Tensor
    y: Tensor
    terms: Sequence[BoundTerm]
    at: Progress
    own: Mapping[str, Tensor] = {}  # variables of the simulation

    @property
    def wanted(self) -> Tensors:
        """The leaf tensors whose gradient is wanted."""
        return (self.x, self.y, *self.own.values()) if self.y.requires_grad else (self.x, *self.own.values())

    def entering(self, copied: bool) -> Tensor:
        """Return the model's input: the candidate, by which hooks recognise it, or a copy for an in-place model."""
        return self.x.clone() if copied else self.x

    def penalty(self) -> Tensor | None:
        """Return the sum of the weighted priors, or `None` if none acts.

        It must be called right after the forward pass, whose graph a prior's hook may have stored.
        """
        acting = weighted(self.terms, self.x, self.at)
        return sum(acting[1:], acting[0]) if acting else None


class RouteResult(NamedTuple):
    """The result of a route.

    Args:
        value: The objective, detached.
        penalty: The weighted priors, detached, or `None` if none acts.
        gradients: Gradients of the whole loss, for all wanted tensors.
    """

    value: Tensor
    penalty: Tensor | None
    gradients: Tensors


@dataclass(eq=False)
class Routes:
    """The routes on one network, and what a run learns about it.

    Args:
        step: Route to take; unrolled training always takes the exact one.
        one_step: The client's single step, or `None` if it took several.
        simulate: `point -> g` with its graph, if it took several.
        pull: `(g, at) -> (combination, its second list)`, see `Matching.pull`.
    """

    step: Step
    one_step: OneStep | None
    simulate: Callable[[Point], Tensors]
    pull: Callable[[Tensors, Progress], tuple[Combination, Tensors]]
    notes: list[str] = field(default_factory=list)
    directional: bool = field(init=False)
    evaluations: int = 0
    in_place: bool = True
    copies: bool = False
    plain_attention: bool = False
    held: list[Tensor] | None = None
    around: Callable[[], AbstractContextManager[None]] = nullcontext

    def __post_init__(self) -> None:
        self.directional = self.step != "exact" and self.one_step is not None

    def slope(self, point: Point) -> RouteResult:
        """Return the objective, which is exact by either route, the priors, and the gradient of the whole loss."""
        if self.held is None:
            self.held = reserve(self.one_step.parameters if self.one_step else [])
            self.around = self.one_step.kernels(point.x).chosen if self.one_step else nullcontext
        try:
            with self.around():
                return self._auto(point) if self.directional else self._exact(point)
        except RuntimeError as error:
            if self.copies or IN_PLACE not in str(error):
                raise
            self.copies = True  # the model works on its input in place
            self.evaluations -= self.directional  # the same one again
            return self.slope(point)

    def _auto(self, point: Point) -> RouteResult:
        """Take the directional route, and check it against the exact one now and then."""
        self.evaluations += 1
        look = self.step == "auto" and self.evaluations % CHECK == 1
        try:
            found, extra = self._directional(point)
            slopes = self._looked_at(found.gradients, point) if look else found.gradients
        except Exception as failure:  # the exact route may still work, whatever the other does to the model
            if self.step != "auto" or isinstance(failure, torch.OutOfMemoryError) or IN_PLACE in str(failure):
                raise
            self._fall_back(point.at, (str(failure).splitlines() or [type(failure).__name__])[0])
            return self._exact(point)
        both = zip(slopes, extra, strict=True)
        return found._replace(gradients=tuple(mine if more is None else mine + more for mine, more in both))

    def _looked_at(self, found: Tensors, point: Point) -> Tensors:
        """Return the exact gradient; try other distances for the second pass, or fall back, if `found` disagrees."""
        one, alone = self.one_step, point._replace(terms=())
        assert one is not None
        with one.silent():
            exact = self._exact(alone).gradients
            first = agreement = float(_cosine(found, exact))
            usual = one.closer
            for factor in OTHER_REACHES:
                if agreement >= AGREE:
                    break
                one.closer = usual * factor
                agreement = float(_cosine(self._directional(alone)[0].gradients, exact))
        if not agreement >= AGREE:
            self._fall_back(point.at, f"its cosine with the exact gradient was {first:.4f}.")
        return exact

    def _fall_back(self, at: Progress, why: str) -> None:
        self.directional = False
        self.notes.append(f"From step {at.step} of {at.steps} the gradient is exact, not directional: {why}")

    def _directional(self, point: Point) -> tuple[RouteResult, tuple[Tensor | None, ...]]:
        """Return the objective with its own gradient, and the gradients of the priors."""
        one, wanted = self.one_step, point.wanted
        assert one is not None
        loss = one.recorded_loss(point.entering(self.copies), point.y)
        penalty = point.penalty()
        extra: tuple[Tensor | None, ...] = (None,) * len(wanted)
        if penalty is not None:  # its graph may share the forward pass with the loss
            extra = torch.autograd.grad(penalty, wanted, retain_graph=True, allow_unused=True)
        gradients = torch.autograd.grad(loss, (*one.parameters, *wanted), allow_unused=True, materialize_grads=True)
        count, weighed = len(one.parameters), None if penalty is None else penalty.detach()
        first = gradients[count:]
        shifted = tuple(own(gradients[:count], beside=first))
        del gradients, loss, penalty
        pull, observed = self.pull(shifted, point.at)
        with torch.no_grad():
            stride = one.reach() / pull.squares.sqrt().clamp_min(TINY)
            pull.shift(shifted, observed, one.parameters, stride)
        second = one.slope_at(shifted, point.entering(self.copies), point.y, wanted)
        slopes = tuple((b - a).div_(stride) for a, b in zip(first, second, strict=True))
        return RouteResult(pull.value, weighed, slopes), extra

    def _exact(self, point: Point) -> RouteResult:
        """Run reverse over reverse; remember which shortcuts the network does not support, and avoid them."""
        while True:
            try:
                return self._reverse_over_reverse(point)
            except RuntimeError as error:
                if self.in_place and "modified by an inplace operation" in str(error):
                    self.in_place = False
                elif not self.plain_attention and "attention" in str(error) and "not implemented" in str(error):
                    self.plain_attention = True
                else:
                    raise

    def _reverse_over_reverse(self, point: Point) -> RouteResult:
        one, x = self.one_step, point.entering(self.copies)
        update = one.gradient(x, point.y, self.plain_attention) if one else self.simulate(point._replace(x=x))
        penalty = point.penalty()
        v = own([g.detach() for g in update]) if self.in_place else [g.detach().clone() for g in update]
        pull, observed = self.pull(tuple(v), point.at)
        pull.combine(v, observed)
        pairs = [(g, weight) for g, weight in zip(update, v, strict=True) if g.requires_grad]
        if penalty is not None:
            pairs.append((penalty, torch.ones_like(penalty)))
        outputs, weights = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, point.wanted, weights, allow_unused=True, materialize_grads=True)
        return RouteResult(pull.value, None if penalty is None else penalty.detach(), found)


FLAGS = ("in_place", "copies", "plain_attention")


def learned(routes: Routes) -> dict[str, object]:
    """Return what a run knows about its routes, for `relearn` to resume it."""
    closer = routes.one_step.closer if routes.one_step else 1.0
    known = {"evaluations": routes.evaluations, "directional": routes.directional, "notes": routes.notes}
    return {**known, "closer": closer, **{name: getattr(routes, name) for name in FLAGS}}


def relearn(routes: Routes, saved: Mapping[str, Any]) -> None:
    """Go on as the routes for which `learned` returned `saved`; a recorded graph stays exact."""
    routes.evaluations, routes.directional = saved["evaluations"], saved["directional"] and routes.directional
    routes.notes[:] = saved["notes"]
    for name in FLAGS:
        setattr(routes, name, saved[name])
    if routes.one_step:
        routes.one_step.closer = saved["closer"]


def _cosine(found: Tensors, exact: Tensors) -> Tensor:
    """Return the cosine of all wanted gradients together; 1 if both are zero."""
    a, b = (torch.cat([tensor.flatten() for tensor in side]).double() for side in (found, exact))
    lengths = a.norm() * b.norm()
    return torch.where(lengths == 0, 1.0, a.dot(b) / lengths)
