"""Films of a study: the iterates of an attack side by side, and as an animation that does not play by itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..studies import StudyResult
from ..studies._bench import PICTURES
from ..studies._definition import identity
from ..studies._film_cells import film_of
from ..values.files import is_file
from . import formatting
from .album import Album, Picture

SIDE = 64  # CSS pixels of a frame
PAUSE = 600  # milliseconds for each frame


@dataclass(frozen=True)
class FilmRow:
    """One example of a film.

    Args:
        name: What the example is called.
        frames: Its images: the iterates, the result and the ground truth.
        moving: The iterates and the result as one animated image.
        still: The result, for readers who prefer less motion.
    """

    name: str
    frames: tuple[Picture, ...]
    moving: Picture
    still: Picture


@dataclass(frozen=True)
class Film:
    """The film of one cell.

    Args:
        label: Name of the cell.
        captions: What is above each frame, in one or two lines.
        rows: One for each example of the batch.
    """

    label: str
    captions: tuple[tuple[str, ...], ...]
    rows: tuple[FilmRow, ...]


def films(result: StudyResult, folder: Path) -> list[Film]:
    """Return the film of every cell that stored one in the folder of the study.

    Raises:
        AuditError: A stored film is damaged.
    """
    album, found = Album(folder), []
    for cell in result.study.cells[result.scale]:
        path = f"{PICTURES}/{film_of(identity(cell))}.png"
        steps: tuple[int, ...] = getattr(cell, "frames", ())
        if steps and is_file(folder / path):
            names = (*(_after(step) for step in steps), "result", "ground truth")
            values = result.by_seed.get(cell.name, {}).get(0, {})
            scores = (*(values.get(f"psnr after {step}") for step in steps), values.get("psnr"), None)
            captions = tuple(
                (name,) if score is None else (name, f"{formatting.number(score, 1)} dB")
                for name, score in zip(names, scores, strict=True)
            )
            rows = album.cut(path, len(names))
            found.append(
                Film(cell.name, captions, tuple(_row(cell.name, i, row, names) for i, row in enumerate(rows, 1)))
            )
    return found


def _after(step: int) -> str:
    return "start" if step == 0 else f"step {step}"


def _row(label: str, number: int, images: Sequence[Image.Image], names: Sequence[str]) -> FilmRow:
    name = f"image {number}"
    frames = tuple(_picture([image], f"{label}, {name}: {what}") for image, what in zip(images, names, strict=True))
    moving = _picture(images[:-1], f"{label}, {name}: animation from the start to the result")
    return FilmRow(name, frames, moving, frames[-2])


def _picture(images: Sequence[Image.Image], alt: str) -> Picture:
    """Return one image, or several as an animated PNG that repeats."""
    file = io.BytesIO()
    if len(images) == 1:
        images[0].save(file, "PNG")
    else:
        images[0].save(file, "PNG", save_all=True, append_images=images[1:], duration=PAUSE, loop=0)
    scale = max(1, SIDE // images[0].width)
    data = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(data, scale * images[0].width, scale * images[0].height, alt)
