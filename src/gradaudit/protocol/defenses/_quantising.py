"""Quantisation levels: rounding to them, and reading their spacing off observed values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BITS = range(1, 17)
TOLERANCE = 0.05  # of one level: single precision errs by 0.01 levels at 16 bits


def quantised(tensor: Tensor, scale: Tensor, bits: int, stochastic: bool) -> Tensor:
    """Return each entry rounded to a multiple of `scale / (2**bits - 1)`; zeros if the scale is 0.

    Args:
        tensor: Any shape.
        scale: Scalar, at least the largest magnitude.
        bits: Bits of the magnitude, 1 to 16.
        stochastic: Whether to round up with a probability equal to the remainder, which is unbiased; to the nearest
            level otherwise.
    """
    top = 2**bits - 1
    position = (tensor.abs().double() / scale.double().clamp_min(torch.finfo(tensor.dtype).tiny)) * top
    below = position.floor()
    level = below + (torch.rand_like(position) < position - below) if stochastic else position.round()
    return (tensor.sign().double() * level * scale.double() / top).to(tensor.dtype)


def on_levels(tensor: Tensor, top: int) -> bool:
    """Return whether every value is a multiple of the largest magnitude over `top`; also if all are 0."""
    magnitudes = tensor.detach().abs().double()
    return not magnitudes.any() or _whole(magnitudes / magnitudes.max() * top)


def spacing(tensor: Tensor) -> float:
    """Return the distance between the levels of quantised values, 0 if all are 0 or not multiples of one number."""
    values = tensor.detach().abs().flatten().double().unique()
    values = values[values > 0]
    if not len(values):
        return 0.0
    gaps = torch.cat([values[:1], values.diff()])
    least = gaps[gaps > values[-1] * 4 * torch.finfo(tensor.dtype).eps].min()
    for part in range(1, 9):
        step = _refined(values, float(least) / part)
        if _whole(values / step):
            return step
    return 0.0


def _refined(values: Tensor, step: float) -> float:
    """Return the spacing by ever larger values, of which each fixes it more precisely than the one before."""
    bound = 8 * step
    while True:
        below = values[values <= bound]
        if len(below):
            step = float(below[-1]) / max(1, round(float(below[-1]) / step))
        if len(below) == len(values):
            return step
        bound *= 4


def _whole(values: Tensor) -> bool:
    return bool((values.round() - values).abs().max() < TOLERANCE)


def level_width(observed: Tensor) -> Tensor:
    """Return the smallest magnitude above 0 of each quantised tensor, a level above 0; 0 if all are 0."""
    magnitudes = observed.abs()
    least = magnitudes.masked_fill(magnitudes == 0, torch.inf).amin()
    return torch.where(least.isfinite(), least, 0)


def outside(candidate: Tensor, observed: Tensor, width: Tensor) -> Tensor:
    """Return by how much each entry of the candidate lies outside the cell around the observed value, with its sign.

    Args:
        candidate: Any shape.
        observed: The quantised values.
        width: How far a value that was rounded to an observed one can lie from it.
    """
    apart = candidate - observed
    return apart.sign() * (apart.abs() - width).relu()


def bits_of(levels: float) -> int:
    """Return the number of bits whose number of levels is nearest to `levels`, as a ratio."""
    return min(BITS, key=lambda bits: abs(math.log((2**bits - 1) / max(levels, 1.0))))
