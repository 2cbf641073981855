"""Additive noise on the update (Zhu et al., 2019, section 5.1; Laplace: Ye et al., 2024, figure 9)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

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
        require(self.std >= 0, self, "std must be at least 0")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor plus its noise."""
        return each(tensors, lambda g: g + self.std * _unit(g, self.relative) * torch.randn_like(g))


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
        require(self.scale >= 0, self, "scale must be at least 0")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor plus its noise."""
        return each(tensors, lambda g: g + self.scale * _unit(g, self.relative) * _laplace(g))


def _unit(tensor: Tensor, relative: bool) -> Tensor | float:
    return tensor.abs().max() if relative else 1.0


def _laplace(like: Tensor) -> Tensor:
    """Return standard Laplace noise: the difference of two unit exponentials."""
    return torch.empty_like(like).exponential_() - torch.empty_like(like).exponential_()
