"""Image registration with scikit-image: a shift, then a dense displacement."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.registration import optical_flow_tvl1, phase_cross_correlation
from skimage.transform import warp
from torch import Tensor

ATTACHMENT = 5  # how closely the flow fits the images; scikit-image's default 15 fits their noise
FINE = 10  # upsampling of the shift: its resolution is 1 / FINE pixels


@torch.no_grad()
def registered_mean(pictures: Tensor) -> Tensor:
    """Return the mean of several versions of an image, each registered to their plain mean first.

    Registration is a shift by plain cross-correlation (`phase_cross_correlation` without its normalisation: the plain
    mean is blurred, so its phases are noise at frequencies without power), then TV-L1 flow (`optical_flow_tvl1`; Zach
    et al., 2007) on the grey image, then one cubic interpolation by both. On eight shifted, bent and noisy versions of
    photographs at 32, 64 and 224 pixels this was closer to the original than either step alone or phase correlation;
    iterative Lucas-Kanade flow is as good at 32 pixels, in two thirds of the time, but worse at 224.

    Args:
        pictures: `[S, B, C, H, W]`, in [0, 1].

    Returns:
        `[B, C, H, W]`, on the same device and in the same type.
    """
    mean = pictures.mean(0)
    stacks = [_channels_last(stack) for stack in pictures.unbind(1)]
    found = [
        np.mean([registered(version, fixed) for version in stack], axis=0)
        for stack, fixed in zip(stacks, _channels_last(mean), strict=True)
    ]
    return torch.from_numpy(np.stack(found)).movedim(-1, 1).to(pictures)


def registered(moving: NDArray, fixed: NDArray) -> NDArray:
    """Return `moving` `[H, W, C]` registered to `fixed`; pixels beyond the border repeat the border."""
    grey, target = moving.mean(-1), fixed.mean(-1)
    rows, columns = np.meshgrid(*map(np.arange, grey.shape), indexing="ij")
    down, right = _shift(grey, target)
    shifted = warp(grey, np.array([rows - down, columns - right]), order=3, mode="edge")
    v, u = optical_flow_tvl1(target, shifted, attachment=ATTACHMENT)
    where = np.array([rows + v - down, columns + u - right])
    return np.stack([warp(channel, where, order=3, mode="edge") for channel in np.moveaxis(moving, -1, 0)], -1)


def _shift(moving: NDArray, fixed: NDArray) -> NDArray:
    """Return how far `moving` must move down and right; a Hann window is used because images are not periodic."""
    window = np.outer(*map(np.hanning, fixed.shape))
    weighted = [(picture - picture.mean()) * window for picture in (fixed, moving)]
    if not all(picture.any() for picture in weighted):
        return np.zeros(2)
    return phase_cross_correlation(*weighted, upsample_factor=FINE, normalization=None)[0]


def _channels_last(pictures: Tensor) -> NDArray:
    return pictures.movedim(1, -1).double().cpu().numpy()
