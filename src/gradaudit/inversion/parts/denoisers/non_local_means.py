"""Denoising by non-local means (Buades, Coll & Morel, 2005)."""

from dataclasses import dataclass, replace
from typing import Self

from skimage.restoration import denoise_nl_means

from ....values.validation import Count, Positive
from ._denoiser import Denoiser, Image


@dataclass(frozen=True)
class NonLocalMeans(Denoiser):
    """Every pixel becomes the mean of pixels whose patches look alike (Buades et al., 2005; `denoise_nl_means`).

    It is scikit-image's fast implementation. Small images have few patches that look alike.

    Args:
        strength: h, the distance of patches over which the weights decay, in units of pixels in [0, 1].
        patch: Side of a patch in pixels.
        distance: Largest distance of the patches in pixels.
    """

    strength: Positive = 0.1
    patch: Count = 5
    distance: Count = 6

    def at(self, noise: float) -> Self:
        """Return the filter with this noise level as its strength."""
        return replace(self, strength=noise)

    def smooth(self, image: Image) -> Image:
        """Return the denoised image."""
        found: Image = denoise_nl_means(
            image,
            patch_size=self.patch,
            patch_distance=self.distance,
            h=self.strength,
            channel_axis=-1 if image.ndim == 3 else None,
        )
        return found
