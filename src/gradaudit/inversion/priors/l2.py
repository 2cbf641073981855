"""Small inputs are likelier than large ones (the image norm of Yin et al., 2021, equation 6)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..attack import Prior, Progress


@dataclass(frozen=True)
class L2(Prior):
    """Mean over the examples of ||x||² in normalised space, summed over channels and pixels."""

    independent: ClassVar[bool] = True

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        return inputs.pow(2).flatten(1).sum(1).mean()
