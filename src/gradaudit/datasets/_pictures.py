"""How pictures are held, cut and resized: shared by the sources, private to this room."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import AuditError

# About 16 MB of 64-bit integers at a time while summing.
VALUES_PER_BLOCK = 2**21

# Modes of one byte or bit per value; PIL cuts off deeper ones (16 bits, floats) when it makes them RGB.
EIGHT_BIT_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


class PictureSequence(Protocol):
    """Pictures by number: anything from a list of tensors to a folder that is read on demand."""

    def __len__(self) -> int:
        """How many pictures there are."""
        ...

    def __getitem__(self, index: int, /) -> Tensor:
        """Picture `index` as `[C, H, W]` float32 in [0, 1]; `IndexError` past the end."""
        ...


@dataclass(frozen=True, eq=False)
class PixelArray:
    """Pictures held in memory as they came, turned into [0, 1] one at a time.

    Args:
        pixels: `[N, C, H, W]`, uint8, or floating point in [0, 1]; a view of any memory layout.
        size: Side in pixels that each picture is brought to on access (centre square), or `None` for as it is.
    """

    pixels: Tensor
    size: int | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Tensor:
        picture = self.pixels[index]
        picture = picture.float().div(255) if picture.dtype == torch.uint8 else picture.float()
        return picture.contiguous() if self.size is None else square(picture, self.size)

    def sum(self, indices: Sequence[int]) -> Tensor:
        """Pixelwise sum `[C, H, W]` in float64 of the pictures at `indices`, exact for uint8 of equal size."""
        exact = torch.int64 if self.pixels.dtype == torch.uint8 else torch.float64
        total = torch.zeros(self.pixels.shape[1:], dtype=exact)
        block = max(1, VALUES_PER_BLOCK // total.numel())
        for start in range(0, len(indices), block):
            chosen = torch.as_tensor(indices[start : start + block])
            total += self.pixels[chosen].sum(dim=0, dtype=exact)
        scaled = total.double().div(255) if exact == torch.int64 else total
        # Resizing is linear (bilinear weights, no clamp needed), so the sum may be resized instead of the pictures.
        return scaled if self.size is None else _resized(scaled, self.size)


def sum_of(pictures: PictureSequence, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Pixelwise sum of the pictures at `indices`, `shape` in float64, holding one picture at a time."""
    if isinstance(pictures, PixelArray):
        return pictures.sum(indices)
    total = torch.zeros(shape, dtype=torch.float64)
    for i in indices:
        total += pictures[i]
    return total


def square(picture: Tensor, size: int) -> Tensor:
    """The centre square of the shorter side, resized with antialiasing (bilinear).

    Args:
        picture: `[C, H, W]` floating point in [0, 1].
        size: Side of the result in pixels.

    Returns:
        `[C, size, size]` in [0, 1].
    """
    return _resized(picture, size).clamp(0, 1)


def _resized(picture: Tensor, size: int) -> Tensor:
    height, width = picture.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = picture[..., top : top + side, left : left + side]
    if side == size:
        return cut.contiguous()
    return F.interpolate(cut[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def check_size(source: str, size: int | None, low: int = 1, high: float = math.inf) -> None:
    """Raises `AuditError` where `size` is neither `None` nor from `low` to `high` pixels."""
    if size is not None and not low <= size <= high:
        rule = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise AuditError(f"{source}: size must be {rule} pixels, got {size}.")


def header(path: Path, source: str) -> tuple[int, int, str]:
    """`(height, width, mode)` of a picture file, without decoding it.

    Raises:
        AuditError: `path` is no picture, or has more than 8 bits per value.
    """
    try:
        with Image.open(path) as image:
            width, height, mode = image.width, image.height, image.mode
    except UNREADABLE as error:
        raise AuditError(f"{source}: cannot read the picture {path} ({type(error).__name__}).") from error
    if mode not in EIGHT_BIT_MODES:
        raise AuditError(f"{source}: {path} has pixels of mode {mode}; convert it to 8 bits per value.")
    return height, width, mode


def decode(path: Path, channels: int, source: str) -> Tensor:
    """The picture in a file, transparency dropped, the first frame of an animation.

    Args:
        path: An 8-bit picture.
        channels: 1 (grey) or 3 (RGB).
        source: Name for error messages.

    Returns:
        `[channels, H, W]` float32 in [0, 1].

    Raises:
        AuditError: The file is damaged or gone.
    """
    try:
        with Image.open(path) as image:
            return from_image(image, channels)
    except UNREADABLE as error:
        raise AuditError(f"{source}: cannot read the picture {path} ({type(error).__name__}).") from error


def from_image(image: Image.Image, channels: int) -> Tensor:
    """A PIL picture as `[channels, H, W]` float32 in [0, 1]; `channels` is 1 (grey) or 3 (RGB)."""
    if "transparency" in image.info:  # PIL warns about palettes with transparency unless they pass through RGBA
        image = image.convert("RGBA")
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1).float().div(255)


UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What PIL raises on files that are missing, truncated, malformed or absurdly large."""
