"""Writing files so that they are never seen half."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to `path` whole or not at all, and return `path`."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def as_image(picture: Tensor) -> Image.Image:
    """`[C, H, W]`, grey or colour in [0, 1], as 8-bit pixels; what lies outside is clamped, no number is mid grey."""
    pixels = picture.nan_to_num(nan=0.5).mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels))


def write_picture(path: Path, picture: Tensor) -> None:
    """Save `as_image` of a picture as a PNG, in a folder that is made where it is missing."""
    path.parent.mkdir(exist_ok=True)
    as_image(picture).save(path)
