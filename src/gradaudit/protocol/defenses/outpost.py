"""OUTPOST (Wang, Hugh and Li, INFOCOM 2023): pruning, and Gaussian noise where the Fisher information is large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from ...values.types import Tensors, Update
from ._defense import Defense, Distance, Doubt, Scene, require

UNKNOWN = 0.3  # weight of an entry that was pruned or perturbed; measured
STANDS_OUT = 4  # standard deviations of the noise above which a perturbed entry counts as kept
AT_ONE_DEVIATION = 0.55  # quantile of perturbed magnitudes at one deviation, if four fifths are noise alone


@dataclass(frozen=True)
class Outpost(Defense):
    """OUTPOST: prunes small entries, and adds noise in proportion to the spread of a layer's weights.

    For every tensor, the risk is min(Var(θ), 1) of its weights, and its Fisher information F is the mean of g² over the
    first dimension. The noise N(0, (risk · noise_base)²) is added where F is among the largest `phi` of all tensors
    together; entries below the `prune_base` quantile of a tensor's magnitudes are set to zero before that. Both happen
    with probability 1 / (1 + beta · t), where t is the number of local steps before the last one.

    The paper perturbs the gradient of every local step; here the update of all local steps is perturbed once. The
    framework that published the method computed the perturbed tensors and returned the original ones: a reproduction
    with it measures no defense. A tensor with one weight has the variance 0, and gets no noise.

    An adversary that knows this defense trusts, in every tensor, the entries that were neither pruned nor perturbed:
    those that are not zero, in places where another entry along the first dimension is zero, and of the perturbed ones
    those that stand out of the noise. All others count less.

    Args:
        phi: Share of the Fisher information that is perturbed, in (0, 1]; 0.4 in the paper.
        prune_base: Share of the entries that is pruned, in [0, 1); 0.8 in the paper.
        noise_base: Standard deviation of the noise for each unit of risk, at least 0; 0.8 in the paper.
        beta: Decay over local steps, at least 0; 0.125 in the paper.
    """

    paper: ClassVar[str] = "INFOCOM 2023"
    doubt: ClassVar[Doubt] = Doubt(
        "the pruned entries count as observed zeros, and the perturbed ones hold noise. An adversary that knows the "
        "defense (DEFENSE) tells both from the entries that were left as they are, and may recover more",
        "its equations need the entries that were pruned or perturbed",
    )
    phi: float = 0.4
    prune_base: float = 0.8
    noise_base: float = 0.8
    beta: float = 0.125

    def __post_init__(self) -> None:
        require(0 < self.phi <= 1, self, "phi must be in (0, 1]")
        require(0 <= self.prune_base < 1, self, "prune_base must be in [0, 1)")
        require(self.noise_base >= 0, self, "noise_base must be at least 0")
        require(self.beta >= 0, self, "beta must be at least 0")

    def apply(self, update: Update, scene: Scene) -> Update:
        """Return the update, pruned and perturbed with a probability that decays with the local steps."""
        if torch.rand(()) >= 1 / (1 + self.beta * (scene.steps - 1)):
            return update
        weights = dict(scene.model.named_parameters())
        fisher = {name: _fisher(tensor) for name, tensor in update.tensors.items()}
        threshold = _upper_quantile(torch.cat([f.flatten() for f in fisher.values()]), self.phi)
        changed = {
            name: self._perturbed(tensor, fisher[name] >= threshold, _risk(weights, name))
            for name, tensor in update.tensors.items()
        }
        return replace(update, tensors=changed)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate where an entry was neither pruned nor perturbed, and the observed update elsewhere."""
        clean = _clean(observed)
        return tuple(torch.where(mask, c, o) for mask, c, o in zip(clean, candidate, observed, strict=True))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance where an entry was neither pruned nor perturbed."""
        pairs = zip(self.simulate(candidate, observed), observed, strict=True)
        return -torch.stack([(c - o).square().sum() for c, o in pairs]).sum()

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance, where pruned and perturbed entries count less on both sides.

        Leaving them out helps more where little is perturbed, and loses too much where most tensors are.
        """
        weights = tuple(map(_weights, observed))
        ours, theirs = (
            tuple(t * weight for t, weight in zip(side, weights, strict=True)) for side in (candidate, observed)
        )
        return distance(ours, theirs)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with the paper's values, which the comparison does not use."""
        return cls()

    def _perturbed(self, tensor: Tensor, chosen: Tensor, risk: float) -> Tensor:
        pruned = torch.where(tensor.abs() >= _upper_quantile(tensor.abs(), 1 - self.prune_base), tensor, 0)
        return pruned + chosen * risk * self.noise_base * torch.randn_like(tensor)


def _fisher(tensor: Tensor) -> Tensor:
    return tensor.square().mean(0) if tensor.dim() else tensor.square()


def _risk(weights: Mapping[str, Tensor], name: str) -> float:
    """Return min(Var(θ), 1) of the weights of a tensor, 0 if there is one weight or the tensor is no parameter."""
    found = weights.get(name)
    return 0.0 if found is None or found.numel() < 2 else min(float(found.detach().var()), 1.0)


def _upper_quantile(values: Tensor, share: float) -> Tensor:
    """Return the value that the largest `share` of the entries reach, at least one entry."""
    return values.flatten().topk(max(1, round(share * values.numel()))).values[-1]


def _clean(observed: Tensors) -> list[Tensor]:
    """Return where an entry is not zero and another one in its place along the first dimension is; else the support."""
    support = [t != 0 for t in observed]
    clean = [mask & ~_perturbed(mask) for mask in support]
    return clean if any(bool(mask.any()) for mask in clean) else support


def _perturbed(support: Tensor) -> Tensor:
    """Return the places where no entry along the first dimension is zero."""
    return support.all(0, keepdim=True).expand_as(support)


def _weights(observed: Tensor) -> Tensor:
    """Return 1 where an entry was kept, or stands out of the noise, and less where it was pruned or is noise."""
    support = observed != 0
    perturbed = _perturbed(support)
    kept = support & ~perturbed
    if perturbed.any():
        magnitudes = observed.abs()
        noise = magnitudes[perturbed]
        deviation = noise.kthvalue(max(1, round(AT_ONE_DEVIATION * len(noise)))).values
        kept = kept | (perturbed & (magnitudes > STANDS_OUT * deviation))
    return torch.where(kept, 1.0, UNKNOWN).to(observed.dtype)
