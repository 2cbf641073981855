"""Denoising by total variation (Chambolle, 2004)."""

from dataclasses import dataclass, replace
from typing import Self

from skimage.restoration import denoise_tv_chambolle

from ....values.validation import Positive
from ._denoiser import Denoiser, Image


@dataclass(frozen=True)
class TvChambolle(Denoiser):
    """The image with the least total variation near the given one (Chambolle, 2004; `denoise_tv_chambolle`).

    It minimises the squared distance plus `weight` times the total variation, each channel by itself. It is
    scikit-image's implementation.

    Args:
        weight: Strength in units of pixels in [0, 1]; a tenth suits noise of a tenth.
    """

    weight: Positive = 0.1

    def at(self, noise: float) -> Self:
        """Return the filter with this noise level as its weight."""
        return replace(self, weight=noise)

    def smooth(self, image: Image) -> Image:
        """Return the denoised image."""
        found: Image = denoise_tv_chambolle(image, weight=self.weight, channel_axis=-1 if image.ndim == 3 else None)
        return found
