"""Small inputs are more likely than large ones (the image norm of Yin et al., 2021, equation 6)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..part import Prior, Progress


@dataclass(frozen=True)
class L2(Prior):
    """The mean of x² over examples, channels and pixels, in normalised space, on the scale of `TotalVariation`.

    The paper uses the norm of an image; a sum over 3 x 224 x 224 values would dominate the other priors, which are
    means.
    """

    independent: ClassVar[bool] = True
    steady: ClassVar[bool] = True

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        return inputs.pow(2).mean()
