"""Pictures under a study's figure: what an attack held after so many steps, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..studies import Figure, StudyResult
from ..studies._definition import identity
from ..studies._running import PICTURES
from .album import Album, Picture


@dataclass(frozen=True)
class Strip:
    """One row of pictures.

    Args:
        label: Of its curve.
        shown: Caption and picture, the truth first.
    """

    label: str
    shown: tuple[tuple[str, Picture], ...]


def strips(result: StudyResult, figure: Figure, folder: Path) -> list[Strip]:
    """A row for each curve whose cells left pictures of their first example in the study's folder."""
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
            captioned = {"truth": truth, **files}.items()
            shown = tuple((caption, album.show(path, f"{curve.label}: {caption}")) for caption, path in captioned)
            found.append(Strip(curve.label, shown))
    return found
