"""An inspection as one self-contained HTML file, without scripts or network access."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..inspection import Inspection
from ..values.files import as_image, write_whole
from . import inspection_lines as lines
from . import received_lines as received
from .album import SHOWN_SIZE, Picture
from .template import fill

PAGE = "inspection.html"
PICTURES = 16


@dataclass(frozen=True)
class InspectionView:
    """The values of the template.

    Args:
        found: The inspection.
        pictures: Private examples that were recovered.
        left_out: Number of further examples that are not shown.
    """

    found: Inspection
    pictures: tuple[Picture, ...]
    left_out: int


def render(found: Inspection, shape: tuple[int, ...]) -> str:
    """Return the page as self-contained HTML.

    Args:
        found: The inspection to show.
        shape: `(C, H, W)` of one example.
    """
    inputs = [
        row for layer in found.layers if layer.takes_example and layer.in_memory is not None for row in layer.in_memory
    ]
    shown = tuple(picture(row.view(shape), f"Recovered example {n}") for n, row in enumerate(inputs[:PICTURES], 1))
    view = InspectionView(found, shown if shape[0] in (1, 3) else (), max(0, len(inputs) - PICTURES))
    return fill(PAGE, page=view, lines=lines, received=received)


def write(found: Inspection, shape: tuple[int, ...], folder: Path) -> Path:
    """Write `inspection.html` into an existing folder, atomically, and return its path."""
    return write_whole(folder / PAGE, render(found, shape))


def picture(values: Tensor, alt: str) -> Picture:
    """Return an image `[C, H, W]` of any range, rescaled to the full range because the normalisation is unknown."""
    low, high = float(values.min()), float(values.max())
    image = as_image((values - low) / max(high - low, 1e-12))
    file = io.BytesIO()
    image.save(file, "PNG")
    scale = max(1, SHOWN_SIZE // max(image.size))
    data = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(data, scale * image.width, scale * image.height, alt)
