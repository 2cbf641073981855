"""An inspection as a page: one HTML file, no script, no network."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..inspection import Inspection
from ..values.files import as_image, write_whole
from . import inspection_lines as lines
from .album import SHOWN_SIZE, Picture
from .template import fill

PAGE = "inspection.html"
PICTURES = 16


@dataclass(frozen=True)
class InspectionView:
    """What the template places.

    Args:
        found: The inspection.
        pictures: Examples that lie in the update, recovered.
        left_out: How many more there are.
    """

    found: Inspection
    pictures: tuple[Picture, ...]
    left_out: int


def render(found: Inspection, shape: tuple[int, ...]) -> str:
    """The page as HTML, complete in itself.

    Args:
        found: What to show.
        shape: `(C, H, W)` of one example.
    """
    inputs = [
        row for layer in found.layers if layer.takes_example and layer.in_memory is not None for row in layer.in_memory
    ]
    shown = tuple(picture(row.view(shape), f"Recovered example {n}") for n, row in enumerate(inputs[:PICTURES], 1))
    view = InspectionView(found, shown if shape[0] in (1, 3) else (), max(0, len(inputs) - PICTURES))
    return fill(PAGE, page=view, lines=lines)


def write(found: Inspection, shape: tuple[int, ...], folder: Path) -> Path:
    """Put the page into an existing folder as `inspection.html`, whole or not at all, and return its path."""
    return write_whole(folder / PAGE, render(found, shape))


def picture(values: Tensor, alt: str) -> Picture:
    """`[C, H, W]` in any range, stretched to black and white: the normalisation is unknown."""
    low, high = float(values.min()), float(values.max())
    image = as_image((values - low) / max(high - low, 1e-12))
    file = io.BytesIO()
    image.save(file, "PNG")
    scale = max(1, SHOWN_SIZE // max(image.size))
    data = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(data, scale * image.width, scale * image.height, alt)
