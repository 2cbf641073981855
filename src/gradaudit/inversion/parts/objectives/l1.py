"""Sum of absolute differences between updates (the robust choice of TAG; Deng et al., 2021)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress


@dataclass(frozen=True)
class L1(Objective):
    """The sum of absolute differences, Σ over all entries of |candidate - observed|.

    It depends on the update's scale.
    """

    independent: ClassVar[bool] = True

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return torch.stack([(c - o).abs().sum() for c, o in zip(candidate, observed, strict=True)]).sum()
