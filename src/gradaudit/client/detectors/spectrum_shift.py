"""A weight whose singular values changed since the round before as training does not change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..received import Received, matrices_of
from ._detector import Detector, Indicator, Places


@dataclass(frozen=True)
class SpectrumShift(Detector):
    """The singular values of a weight, relative to its norm, have another distribution than in the round before.

    The distance is that of Kolmogorov and Smirnov between both sets of singular values, each divided by the norm of its
    matrix. A round of training moves them little; a matrix that was replaced has other ones, even if each entry looks
    usual.

    Args:
        distance: Kolmogorov-Smirnov distance, in [0, 1].
    """

    paper: ClassVar[str] = "arXiv:2511.10502"
    needs: ClassVar[frozenset[str]] = frozenset({"before"})
    sign: ClassVar[str] = "The singular values of {where} changed since the round before as no training changes them."
    none: ClassVar[str] = (
        "The singular values of every weight with 32 rows and a fan-in of 64 are near those of the round before."
    )
    blind: ClassVar[str] = "no weight of both rounds has 32 rows and a fan-in of 64"
    distance: float = 0.5

    def places(self, received: Received) -> Places:
        """Yield the distance of every weight that both rounds have."""
        last = matrices_of(received.before or {})
        for name, matrix in received.matrices.items():
            if name in last and last[name].shape == received.weights[name].flatten(1).shape:
                distance = shift(last[name][received.rows_of(name)], matrix)
                yield name, (Indicator("distance of the spectra", distance, self.distance, (0.0, 0.015)),)


def shift(first: Tensor, second: Tensor) -> float:
    """Return the Kolmogorov-Smirnov distance of the singular values of two matrices, relative to their norms.

    Args:
        first: `[rows, fan-in]`.
        second: The same shape.
    """
    one, two = spectrum(first), spectrum(second)
    at = torch.cat([one, two])
    return float((_share(one, at) - _share(two, at)).abs().max())


def spectrum(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix over its norm, ascending; zeros for a matrix of zeros."""
    matrix = matrix / matrix.abs().max().clamp_min(1e-30)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    values = torch.linalg.eigvalsh(gram.double()).clamp_min(0).sqrt()
    shares: Tensor = values / values.norm().clamp_min(1e-30)
    return shares


def _share(values: Tensor, at: Tensor) -> Tensor:
    """Return the share of the ascending `values` that are at most each entry of `at`."""
    return torch.searchsorted(values, at.contiguous(), right=True).double() / len(values)
