"""signSGD (Bernstein et al., 2018): only the sign of every entry is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require

STEP = 1e-3  # of the server for bare signs, as Adam's usual rate
EVEN = 1e-4  # relative: magnitudes of one tensor that differ by less are equal


@dataclass(frozen=True)
class SignSgd(Defense):
    """signSGD: replaces every entry by its sign (algorithm 1), 0 for an entry of 0.

    An adversary that knows this defense compares signs alone: the share of a candidate's squared length in entries of
    the wrong sign, which is zero for the true gradient, while its cosine with its signs is not 1. Over several rounds
    it weights every entry by its mean sign.

    Args:
        scaled: Whether the signs of a tensor are multiplied by its mean magnitude, as in scaled signSGD (Karimireddy et
            al., 2019, algorithm 1).
    """

    name: ClassVar[str] = "sign"
    paper: ClassVar[str] = "arXiv:1802.04434"
    doubt: ClassVar[Doubt] = Doubt(
        "all entries have the same magnitude, so that an objective that compares magnitudes is not lowest at the "
        "private examples. An adversary that knows the defense (DEFENSE) compares signs alone and may recover more",
        "its equations need the magnitudes of the entries",
    )
    scaled: bool = False

    def __post_init__(self) -> None:
        require(isinstance(self.scaled, bool), self, "scaled must be true or false")

    @property
    def server_rate(self) -> float | None:  # type: ignore[override]
        """Step size of the server: bare signs have no scale of their own."""
        return None if self.scaled else STEP

    def protect(self, tensors: Tensors) -> Tensors:
        """Return the signs of each tensor, scaled if so asked."""
        return each(tensors, lambda g: g.sign() * (g.abs().mean() if self.scaled else 1))

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the observed update, less the candidate's entries of the wrong sign in units of its mean magnitude."""
        return tuple(map(_corrected, candidate, observed))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squares of the candidate's entries of the wrong sign: the squared hinge relu(-s·c)²."""
        return -torch.stack([(-o * c).relu().square().sum() for o, c in zip(observed, candidate, strict=True)]).sum()

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the share of the candidate's squared length in entries of the wrong sign, in [0, 1].

        The hinge of an update of zeros is 0, so that it is divided by the candidate's own length.
        """
        weights = tuple(o / o.abs().amax().clamp_min(torch.finfo(o.dtype).tiny) for o in observed)
        square = torch.stack([(w * c).square().sum() for w, c in zip(weights, candidate, strict=True)]).sum()
        return -self.log_likelihood(weights, candidate) / square.clamp_min(torch.finfo(square.dtype).tiny)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense, scaled unless every magnitude is 1.

        Raises:
            AttackFailed: The entries of a tensor differ in magnitude.
        """
        scales = []
        for tensor in rounds[0]:
            magnitudes = tensor.abs()[tensor != 0]
            if len(magnitudes) and (magnitudes - magnitudes[0]).abs().max() > EVEN * magnitudes[0]:
                raise AttackFailed(
                    f"{cls.name}: the entries of a tensor differ in magnitude, so that they are no signs."
                )
            scales.extend(magnitudes[:1].tolist())
        return cls(any(abs(scale - 1) > EVEN for scale in scales))


def _corrected(candidate: Tensor, observed: Tensor) -> Tensor:
    unit = candidate.abs().mean().clamp_min(torch.finfo(candidate.dtype).tiny)
    return observed - observed * (-observed.sign() * candidate).relu() / unit
