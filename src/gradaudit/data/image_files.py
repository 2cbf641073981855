"""Reading of image files; private to this package."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..values.errors import AuditError
from .image_arrays import square

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
BITS_PER_SAMPLE = 258  # TIFF's tag
IHDR_DEPTH = 24  # offset of the bit depth in a PNG file

# Modes with one byte or bit per value; PIL truncates deeper ones (16 bits, floats) when it converts them to RGB.
EIGHT_BIT_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


@dataclass(frozen=True)
class PictureFiles:
    """Image files as a sequence of tensors; each access decodes one file.

    Args:
        paths: The files.
        channels: 1 (grey) or 3 (RGB).
        size: Side in pixels to resize and centre-crop to, or `None`.
        source: Name for error messages.
    """

    paths: tuple[Path, ...]
    channels: int
    size: int | None
    source: str

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        picture = decode(self.paths[index], self.channels, self.source)
        return picture if self.size is None else square(picture, self.size)


def header(path: Path, source: str) -> tuple[int, int, str]:
    """Return `(height, width, mode)` of an image file without decoding it.

    Raises:
        AuditError: The file is not an image in one of `FORMATS`, is too large, or has more than 8 bits per value.
    """
    with _opened(path, source) as image:
        return image.height, image.width, image.mode


def decode(path: Path, channels: int, source: str) -> Tensor:
    """Return the image in a file, without transparency; of an animation, the first frame.

    Args:
        path: An 8-bit image.
        channels: 1 (grey) or 3 (RGB).
        source: Name for error messages.

    Returns:
        `[channels, H, W]` float32 in [0, 1].

    Raises:
        AuditError: The file is damaged, missing, too large, or has more than 8 bits per value.
    """
    with _opened(path, source) as image:
        if "transparency" in image.info:  # PIL warns about palettes with transparency unless they pass through RGBA
            image = image.convert("RGBA")
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], channels).permute(2, 0, 1).float().div(255)


@contextmanager
def _opened(path: Path, source: str) -> Iterator[Image.Image]:
    """Open an 8-bit image; every error here or while it is decoded names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _require_eight_bits(image, path, source)
                yield image
    except AuditError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{Image.MAX_IMAGE_PIXELS} pixels"
        raise AuditError(f"{source}: the image {path} has more than {most}; make it smaller.") from error
    except Exception as error:  # PIL raises many kinds of errors for damaged files
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise AuditError(f"{source}: cannot read the image {path} ({reason}).") from error


def _require_eight_bits(image: Image.Image, path: Path, source: str) -> None:
    """Raise `AuditError` if PIL would keep only the high byte of each value, or clip it.

    The mode does not show this: PIL opens 16-bit colour images as RGB.
    """
    bits = 8
    if image.format == "PNG":
        with path.open("rb") as file:
            bits = file.read(IHDR_DEPTH + 1)[IHDR_DEPTH]
    elif image.format == "TIFF":
        tag = image.tag_v2.get(BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        bits = max(tag) if isinstance(tag, tuple) else int(tag)
    if bits > 8 or image.mode not in EIGHT_BIT_MODES:
        found = f"{bits} bits per value" if bits > 8 else f"pixels of mode {image.mode}"
        raise AuditError(f"{source}: {path} has {found}; convert it to 8 bits per value, over its whole range.")
