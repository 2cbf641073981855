"""Total variation: natural pictures are piecewise smooth (Rudin et al., 1992; Geiping et al., 2020, section 3)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....values.types import Modality
from ..part import Prior, Progress


@dataclass(frozen=True)
class TotalVariation(Prior):
    """Anisotropic: mean |horizontal difference| + mean |vertical difference|, over batch, channels and pixel pairs.

    Zero on a constant picture: no border is padded (a peer pads with zeros and reads 0.106 there).
    """

    independent: ClassVar[bool] = True
    modality: ClassVar[Modality] = Modality.PICTURES

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        vertical = (inputs[..., 1:, :] - inputs[..., :-1, :]).abs().mean()
        horizontal = (inputs[..., :, 1:] - inputs[..., :, :-1]).abs().mean()
        return vertical + horizontal
