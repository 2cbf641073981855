"""Total variation: natural images are piecewise smooth (Rudin et al., 1992; Geiping et al., 2020, section 3)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....values.types import Modality
from ..part import Prior, Progress


@dataclass(frozen=True)
class TotalVariation(Prior):
    """Anisotropic total variation: mean |vertical difference| + mean |horizontal difference|.

    The means are over batch, channels and pixel pairs. It is zero on a constant image, because no border is padded (an
    implementation that pads with zeros yields 0.106).
    """

    independent: ClassVar[bool] = True
    steady: ClassVar[bool] = True
    modality: ClassVar[Modality] = Modality.PICTURES

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        vertical = (inputs[..., 1:, :] - inputs[..., :-1, :]).abs().mean()
        horizontal = (inputs[..., :, 1:] - inputs[..., :, :-1]).abs().mean()
        return vertical + horizontal
