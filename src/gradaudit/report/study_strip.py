"""Images under a figure of a study: the iterate of an attack after a number of steps, beside the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..studies import Figure, StudyResult
from ..studies._bench import PICTURES
from ..studies._definition import identity
from .album import Album, Picture


@dataclass(frozen=True)
class Strip:
    """One row of images.

    Args:
        label: Name of its curve.
        shown: Captions and images, the ground truth first.
    """

    label: str
    shown: tuple[tuple[str, Picture], ...]


def strips(result: StudyResult, figure: Figure, folder: Path) -> list[Strip]:
    """Return a row for each curve whose cells stored images of their first example in the folder of the study."""
    album = Album(folder)
    names = {cell.name: identity(cell) for cell in result.study.cells[result.scale]}
    found = []
    for curve in figure.curves:
        files = {
            f"{figure.across} {across:g}": f"{PICTURES}/{names[cell]}.png"
            for across, cell in curve.points
            if cell in names and (folder / PICTURES / f"{names[cell]}.png").is_file()
        }
        if files:
            truth = next(iter(files.values())).replace(".png", "-truth.png")
            captioned = {"ground truth": truth, **files}.items()
            shown = tuple((caption, album.show(path, f"{curve.label}: {caption}")) for caption, path in captioned)
            found.append(Strip(curve.label, shown))
    return found
