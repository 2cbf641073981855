"""Additive noise on the update (Zhu et al., 2019, section 5.1; Laplace: Ye et al., 2024, figure 9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ._defense import Defense, Doubt, each, require

NOISE = Doubt(
    "the noise is part of what the attack matches, and no adversary can simulate it: beyond a point a lower objective "
    "means more fitted noise, not a closer image. Stronger priors, a denoiser or a generator may recover more",
    "its equations hold up to the noise only, which least squares and rank decisions amplify",
    simulated=False,
)


@dataclass(frozen=True)
class GaussianNoise(Defense):
    """Gaussian noise N(0, std²) on every entry of the update.

    The noise is not calibrated to a sensitivity, so that this defense alone is not differential privacy.

    Args:
        std: Standard deviation, at least 0, in units of the update.
        relative: Whether `std` is a fraction of each tensor's largest magnitude.
    """

    example: ClassVar[tuple[Any, ...]] = (0.1,)
    paper: ClassVar[str] = "arXiv:1906.08935"
    doubt: ClassVar[Doubt] = NOISE
    std: float
    relative: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.std < math.inf, self, "std must be at least 0 and finite")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor plus its noise."""
        return each(tensors, lambda g: g + self.std * _unit(g, self.relative) * torch.randn_like(g))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor | None:
        """Return -||o - c||² / 2σ², summed over the tensors; `None` without noise."""
        pairs = zip(observed, candidate, strict=True)
        return _total(((o - c).square(), 2 * _square(self.std * _unit(o, self.relative))) for o, c in pairs)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose absolute `std` is the standard deviation between at least two rounds.

        Raises:
            AttackFailed: There is one round, or the rounds are equal.
        """
        return cls(_deviation(cls, rounds))


@dataclass(frozen=True)
class LaplaceNoise(Defense):
    """Laplace noise of scale b (standard deviation b·√2) on every entry of the update.

    Args:
        scale: Scale b, at least 0, in units of the update.
        relative: Whether `scale` is a fraction of each tensor's largest magnitude (0.1 in Ye et al., 2024).
    """

    example: ClassVar[tuple[Any, ...]] = (0.1,)
    paper: ClassVar[str] = "arXiv:1906.08935"
    doubt: ClassVar[Doubt] = NOISE
    scale: float
    relative: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.scale < math.inf, self, "scale must be at least 0 and finite")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor plus its noise."""
        return each(tensors, lambda g: g + self.scale * _unit(g, self.relative) * _laplace(g))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor | None:
        """Return -|o - c|₁ / b, summed over the tensors; `None` without noise."""
        pairs = zip(observed, candidate, strict=True)
        return _total(((o - c).abs(), self.scale * _unit(o, self.relative)) for o, c in pairs)

    def joined(self, rounds: Sequence[Tensors]) -> Tensors:
        """Return the median of every entry over the rounds, which is the likeliest value under Laplace noise."""
        return tuple(map(_median, zip(*rounds, strict=True)))

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose absolute `scale` is the standard deviation between at least two rounds, over √2.

        Raises:
            AttackFailed: There is one round, or the rounds are equal.
        """
        return cls(_deviation(cls, rounds) / 2**0.5)


def _square(value: Tensor | float) -> Tensor | float:
    return value * value  # `**` raises where a float overflows


def _unit(tensor: Tensor, relative: bool) -> Tensor | float:
    return tensor.abs().max() if relative else 1.0


def _total(parts: Iterable[tuple[Tensor, Tensor | float]]) -> Tensor | None:
    """Return minus the sum of all distances, each over its scale; `None` if a scale is 0."""
    found = [(distances.sum(), scale) for distances, scale in parts]
    return (
        None if any(scale == 0 for _, scale in found) else -torch.stack([sum_ / scale for sum_, scale in found]).sum()
    )


def _deviation(cls: type[Defense], rounds: Sequence[Tensors]) -> float:
    """Return the standard deviation between rounds, over all entries."""
    if len(rounds) < 2:
        raise AttackFailed(f"{cls.name}: its strength needs at least two rounds of the same batch. State it instead.")
    variances = [torch.stack(tensors).double().var(0).flatten() for tensors in zip(*rounds, strict=True)]
    found = float(torch.cat(variances).mean().sqrt())
    if not found:
        raise AttackFailed(f"{cls.name}: the rounds are equal, so that they hold no noise.")
    return found


def _median(tensors: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack(tuple(tensors))
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32)).quantile(0.5, 0).to(stacked)


def _laplace(like: Tensor) -> Tensor:
    """Return standard Laplace noise: the difference of two unit exponentials."""
    return torch.empty_like(like).exponential_() - torch.empty_like(like).exponential_()
