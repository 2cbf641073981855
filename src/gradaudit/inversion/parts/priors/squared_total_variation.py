"""Squared total variation, with the weights of GRNN (Ren, Deng & Xie, 2022, doi:10.1145/3510032)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....values.types import Modality
from ..part import Prior, Progress


@dataclass(frozen=True)
class SquaredTotalVariation(Prior):
    """Squared total variation: 2 (mean squared vertical difference + mean squared horizontal difference).

    The means are over batch, channels and pixel pairs. It smooths edges more than noise, whereas absolute total
    variation preserves them. No border is padded.
    """

    steady: ClassVar[bool] = True
    modality: ClassVar[Modality] = Modality.PICTURES

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        vertical = (inputs[..., 1:, :] - inputs[..., :-1, :]).square().mean()
        horizontal = (inputs[..., :, 1:] - inputs[..., :, :-1]).square().mean()
        return 2 * (vertical + horizontal)
