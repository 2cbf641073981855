"""Storage, cropping and resizing of images, shared by the data sources; private to this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values.errors import AuditError

# Sums are computed in blocks of about 16 MB of 64-bit integers.
VALUES_PER_BLOCK = 2**21

LARGEST_SIDE = 4096  # pixels of a resized image: 200 MB each

MOST_LOOKS = 2_000  # number of images read from files before a source is refused
DEEPEST = 4095 / 65535  # in [0, 1]: the largest value of 12-bit data stored in 16 bits


class PictureSequence(Protocol):
    """A sequence of images: anything from a list of tensors to a folder that is read on demand."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int, /) -> Tensor:
        """Return image `index` as `[C, H, W]` float32 in [0, 1]. Raise `IndexError` past the end."""
        ...


@dataclass(frozen=True, eq=False)
class PixelArray:
    """Images in memory in their original type, converted to [0, 1] one at a time.

    Args:
        pixels: `[N, C, H, W]`, uint8, or floating point in [0, 1]; a view of any memory layout.
        size: Side in pixels to which each image is cropped and resized on access, or `None`.
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
        """Return the pixelwise sum `[C, H, W]` of the images at `indices` in float64, exact for uint8 images."""
        exact = torch.int64 if self.pixels.dtype == torch.uint8 else torch.float64
        total = torch.zeros(self.pixels.shape[1:], dtype=exact)
        block = max(1, VALUES_PER_BLOCK // total.numel())
        for start in range(0, len(indices), block):
            chosen = torch.as_tensor(indices[start : start + block])
            total += self.pixels[chosen].sum(dim=0, dtype=exact)
        scaled = total.double().div(255) if exact == torch.int64 else total
        # Resizing is linear (bilinear weights, no clamp needed), so the sum may be resized instead of the images.
        return scaled if self.size is None else _resized(scaled, self.size)


def sum_of(pictures: PictureSequence, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Return the pixelwise sum of the images at `indices`, of shape `shape` in float64, one image at a time."""
    if isinstance(pictures, PixelArray):
        return pictures.sum(indices)
    total = torch.zeros(shape, dtype=torch.float64)
    for i in indices:
        total += pictures[i]
    return total


def square(picture: Tensor, size: int) -> Tensor:
    """Return the largest centre square, resized with antialiasing (bilinear).

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


def check_size(source: str, size: int | None, low: int = 1, high: int = LARGEST_SIDE) -> None:
    """Raise `AuditError` if `size` is neither `None` nor from `low` to `high` pixels."""
    if size is not None and not low <= size <= high:
        raise AuditError(f"{source}: size must be from {low} to {high} pixels, got {size}.")


def require_pixels(pictures: PictureSequence, what: str) -> None:
    """Raise `AuditError` if the pixels of a source have an implausible scale.

    That is the case if all pixels of all images are equal, if no pixel is above 1/255 (they were divided by 255 twice,
    or contain only 0 and 1), or if all are 12-bit numbers divided by 65 535. One plausible image is enough, so a dark
    data set is not refused for being dark.

    Args:
        pictures: The images. If they are read from files, up to 2 000 of them, evenly spaced, until one is plausible.
        what: Subject of the error message.
    """
    low, high, why = 1.0, 0.0, ""
    for values in _blocks(pictures):
        scale = 255 if values.dtype == torch.uint8 else 1
        low, high = min(low, float(values.min()) / scale), max(high, float(values.max()) / scale)
        why = _implausible(values, low, high)
        if not why:
            return
    raise AuditError(f"{what}: {why}")


def _blocks(pictures: PictureSequence) -> Iterator[Tensor]:
    """Yield all pixels at once if they are in memory (uint8 or in [0, 1]), otherwise one image at a time."""
    if isinstance(pictures, PixelArray):
        return iter((pictures.pixels,))
    return (pictures[i] for i in range(0, len(pictures), max(1, -(-len(pictures) // MOST_LOOKS))))


def _implausible(values: Tensor, low: float, high: float) -> str:
    """Return why pixels from `low` to `high`, including `values`, are implausible, with the fix, or an empty string."""
    if low >= high:
        return f"every pixel of every image is {high:g} in [0, 1], so there is nothing to reconstruct; check the file."
    if high <= 1.001 / 255:
        return (
            f"no pixel is brighter than {high:.2g} in [0, 1]: the values are only 0 and 1 in 8 bits, or were divided "
            "by 255 twice. Multiply them by 255."
        )
    deep = values.is_floating_point() and high <= DEEPEST * 1.0001
    if deep and _steps_of(values, 65535) and not _steps_of(values, 255):
        return (
            f"no pixel is brighter than {high:.2g} in [0, 1], and all are multiples of 1/65535: they look like "
            "12-bit data in 16 bits. Divide them by their largest value, 4095."
        )
    return ""


def _steps_of(values: Tensor, steps: int) -> bool:
    """Return whether all values are multiples of `1 / steps`, up to the precision of 16-bit floats."""
    scaled = values.double() * steps
    return bool(((scaled - scaled.round()).abs() < 0.02).all())
