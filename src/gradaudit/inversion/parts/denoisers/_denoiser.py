"""The base class of denoisers."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from ....values.errors import AttackFailed
from ....values.types import Modality
from ..part import Part

Image = np.ndarray[Any, np.dtype[np.float64]]
"""One image, `[H, W, C]` or `[H, W]`, in [0, 1]."""


class Denoiser(Part):
    """A filter of images that draws no random numbers: `(inputs [B, C, H, W]) -> the same shape`.

    A subclass provides `smooth`, and `at` if its strength can follow the noise.
    """

    modality: ClassVar[Modality] = Modality.PICTURES

    def at(self, noise: float) -> Self:
        """Return the denoiser for noise of this standard deviation, in units of pixels in [0, 1]; here itself."""
        return self

    def smooth(self, image: Image) -> Image:
        """Return the denoised image; `[H, W]` if it is grey, else `[H, W, C]`."""
        raise NotImplementedError

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the denoised images in [0, 1], each by itself; an image with NaN or infinity stays as it is.

        Raises:
            AttackFailed: `inputs` is not `[B, C, H, W]`.
        """
        if inputs.ndim != 4:
            raise AttackFailed(f"{self!r} needs images [B, C, H, W]. Found {list(inputs.shape)}.")
        return torch.stack([self._one(image) for image in inputs.detach()]) if len(inputs) else inputs

    def _one(self, image: Tensor) -> Tensor:
        if not bool(image.isfinite().all()):
            return image
        pixels = image.cpu().double().clamp(0, 1).permute(1, 2, 0).numpy()
        grey = pixels.shape[2] == 1
        found = np.clip(self.smooth(pixels[..., 0] if grey else pixels), 0, 1)
        found = np.ascontiguousarray(found[None] if grey else found.transpose(2, 0, 1))
        return torch.from_numpy(found).to(image)
