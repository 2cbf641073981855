"""Small inputs are likelier than large ones (the image norm of Yin et al., 2021, equation 6)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..part import Prior, Progress


@dataclass(frozen=True)
class L2(Prior):
    """Mean of x² over examples, channels and pixels, in normalised space: on the scale of `TotalVariation`.

    The paper's is the norm of a picture; a sum over 3 x 224 x 224 values would drown every mean beside it.
    """

    independent: ClassVar[bool] = True

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        return inputs.pow(2).mean()
