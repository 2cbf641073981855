"""The sign of the gradient (Geiping et al., 2020, section 3: the matching loss is minimised on the sign alone)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..part import GradientTransform, Progress


@dataclass(frozen=True)
class Sign(GradientTransform):
    """A gradient transform that replaces every entry by its sign: -1, 0 or 1."""

    independent: ClassVar[bool] = True

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        return gradient.sign()
