"""CENSOR (Zhang et al., NDSS 2025): a random update that is orthogonal to the gradient in every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from ...models.copying import private_copy
from ...values.types import Tensors, Update
from ._defense import Defense, Doubt, Scene, each, require

Fallback = Literal["gradient", "best"]
NORMAL = 0.3  # excess kurtosis up to which entries count as normally distributed


@dataclass(frozen=True)
class Censor(Defense):
    """CENSOR: replaces every tensor g by a random one that is orthogonal to it and as long.

    Each draw takes a random r for every tensor, r - <r, g> g / ||g||², rescaled to ||g||. Of `draws`, the one is
    kept after whose single step of `learning_rate` the loss of the batch is lowest; if no draw lowers the loss, g
    itself is shared. The step is taken in evaluation mode. A tensor of one entry has no orthogonal direction and
    becomes zero.

    The authors' code divides <r, g> g by ||g|| once, so that its result is orthogonal only if ||g|| is 1; this is
    the paper's exact form. A step along an exactly orthogonal update has no first-order descent, so that rounding
    errors and curvature decide whether a draw lowers the loss: it often happens that none does, and g is shared
    undefended. Such a round is reported as one without effect; `fallback="best"` shares the best draw instead.

    The lengths leak. An adversary that knows this defense asks for an update whose tensors are as long as the observed
    ones and orthogonal to them. It tells a draw from a gradient by the distribution of its entries.

    Args:
        draws: Number of draws, at least 1; 20 in the paper.
        learning_rate: Of the step that ranks the draws, positive.
        fallback: What is shared if no draw lowers the loss: the `"gradient"`, as in the paper, or the `"best"` draw.
    """

    paper: ClassVar[str] = "arXiv:2501.15718"
    doubt: ClassVar[Doubt] = Doubt(
        "the update is orthogonal to the gradient, so that matching it leads away from the private examples. Every "
        "tensor is as long as that of the gradient: an adversary that knows the defense (DEFENSE) compares lengths and "
        "may recover more",
        "its equations hold for the gradient, and not for a random update that is orthogonal to it",
    )
    draws: int = 20
    learning_rate: float = 1e-4
    fallback: Fallback = "gradient"

    def __post_init__(self) -> None:
        require(self.draws >= 1, self, "draws must be at least 1")
        require(self.learning_rate > 0, self, "learning_rate must be positive")
        require(self.fallback in ("gradient", "best"), self, "fallback must be gradient or best")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return one draw."""
        return each(tensors, _orthogonal)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the observed update, scaled by how far the candidate is from being orthogonal to it and as long."""
        if not _drawn(observed):
            return candidate
        return tuple(o * (1 + _misfit(c, o)) for c, o in zip(candidate, observed, strict=True))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor | None:
        """Return minus the sum over the tensors of cos² and the squared relative difference of lengths.

        It is `None` if the observed update is the gradient itself.
        """
        if not _drawn(observed):
            return None
        return -torch.stack([_misfit(c, o) for c, o in zip(candidate, observed, strict=True)]).sum()

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with the paper's values, which the comparison does not use."""
        return cls()

    def apply(self, update: Update, scene: Scene) -> Update:
        """Return the draw whose step lowers the loss of the batch most, or the update itself if none does."""
        model = private_copy(scene.model).eval()
        names, best, least = tuple(update.tensors), update.values, _loss(model, scene, {})
        if self.fallback == "best":
            least = torch.full_like(least, torch.inf)
        weights = {name: tensor.detach() for name, tensor in model.named_parameters()}
        for _ in range(self.draws):
            drawn = self.protect(update.values)
            moved = {name: weights[name] - self.learning_rate * d for name, d in zip(names, drawn, strict=True)}
            loss = _loss(model, scene, moved)
            if loss < least:
                best, least = drawn, loss
        return replace(update, tensors=dict(zip(names, best, strict=True)))


@torch.no_grad()
def _loss(model: torch.nn.Module, scene: Scene, moved: dict[str, Tensor]) -> Tensor:
    return scene.loss(torch.func.functional_call(model, moved, (scene.inputs,)), scene.labels)


def _orthogonal(tensor: Tensor) -> Tensor:
    """Return a random tensor orthogonal to `tensor` and of its L2 norm."""
    length = tensor.norm()
    unit = (tensor / length.clamp_min(torch.finfo(tensor.dtype).tiny)).double()
    drawn = torch.randn_like(tensor).double()
    for _ in range(2):  # the second time removes what rounding left of the first
        drawn = drawn - (drawn * unit).sum() * unit
    if tensor.numel() < 2:
        return torch.zeros_like(tensor)
    return (drawn / drawn.norm() * length).to(tensor.dtype)


def _misfit(candidate: Tensor, observed: Tensor) -> Tensor:
    """Return cos² plus the squared relative difference of the L2 norms; 1 for a candidate of zeros."""
    tiny = torch.finfo(candidate.dtype).tiny
    theirs = observed.norm().clamp_min(tiny**0.5)
    ours = candidate.square().sum().clamp_min(tiny).sqrt()
    cosine = (candidate * (observed / theirs)).sum() / ours
    return cosine.square() + (ours / theirs - 1).square()


def _drawn(observed: Tensors) -> bool:
    """Return whether the entries are normally distributed in every tensor, as those of a draw are, by their kurtosis.

    The kurtosis of n normal entries is 3 with standard error √(24/n); those of a gradient have heavier tails.
    """
    units = [t.flatten() / t.square().mean().sqrt() for t in observed if t.any()]
    fourth = torch.cat([unit**4 for unit in units]) if units else torch.zeros(1)
    return bool((fourth.mean() - 3).abs() < NORMAL + 4 * math.sqrt(24 / len(fourth)))
