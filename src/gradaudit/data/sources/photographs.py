"""The photographs that come with scikit-image and scikit-learn, available without a download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...values.errors import AuditError
from ..image_arrays import PixelArray, check_size, square
from ..image_files import decode
from ._source import Source

# The files are read directly, because the functions of skimage.data download a file that is not in the wheel.
SCIKIT_IMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "camera.png",
    "brick.png",
    "grass.png",
    "gravel.png",
)
SCIKIT_LEARN = ("china.jpg", "flower.jpg")

# Least standard deviation of a tile's grey values in [0, 1]; a tile with less shows only sky, or nothing.
LEAST_CONTRAST = 0.06


@dataclass(frozen=True)
class Photographs:
    """Twelve photographs from the scikit-image and scikit-learn packages, and tiles of them; no labels.

    The twelve whole photographs (centre square) come first. With `crops="all"` they are followed by square tiles, whose
    side is half of the photograph's shorter side and which do not overlap; they are named `china (row, column)` from 1.
    Tiles without contrast are skipped.

    Args:
        size: Side of each image in pixels, from 8 to 224.
        crops: `"all"` for whole photographs and tiles, `"whole"` for the twelve whole photographs alone.
    """

    size: int = 32
    crops: Literal["all", "whole"] = "all"

    def open(self) -> Source:
        """Read the photographs; raise `AuditError` if the size is out of range, or a package or file is missing."""
        check_size("photographs", self.size, 8, 224)
        if self.crops not in ("all", "whole"):
            raise AuditError(f"photographs: crops must be all or whole, got {self.crops}.")
        files = _files()
        names, pictures = _cut(files, self.size, self.crops)
        tiles = len(names) - len(files)
        return Source(
            name="photographs",
            description=f"{len(files)} photographs that come with scikit-image and scikit-learn"
            + (f", and {tiles} tiles of them" if tiles else "")
            + f", {self.size} x {self.size} pixels",
            pictures=PixelArray(pictures),
            picture_names=names,
            attribution=_attribution(),
        )


@lru_cache(maxsize=8)
def _cut(files: tuple[Path, ...], size: int, crops: str) -> tuple[tuple[str, ...], Tensor]:
    """Return the names of the images and their values `[N, 3, size, size]`, 0 to 255, decoded once in a process."""
    photographs = {path.stem: decode(path, 3, "photographs") for path in files}
    cut = dict(photographs)
    if crops == "all":
        for name, photograph in photographs.items():
            cut |= _tiles(name, photograph)
    pictures = torch.stack([square(picture, size) for picture in cut.values()])
    return tuple(cut), pictures.mul(255).round().to(torch.uint8)


def _tiles(name: str, photograph: Tensor) -> Iterator[tuple[str, Tensor]]:
    _, height, width = photograph.shape
    side = min(height, width) // 2
    for row in range(height // side):
        for column in range(width // side):
            tile = photograph[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            if tile[:, ::4, ::4].mean(dim=0).std() >= LEAST_CONTRAST:  # every 16th pixel is enough
                yield f"{name} ({row + 1}, {column + 1})", tile


def _files() -> tuple[Path, ...]:
    image, learn = _package("skimage") / "data", _package("sklearn") / "datasets" / "images"
    files = [image / name for name in SCIKIT_IMAGE] + [learn / name for name in SCIKIT_LEARN]
    for path in files:
        if not path.is_file():
            raise AuditError(f"photographs: {path} is missing; install scikit-image and scikit-learn again.")
    return tuple(files)


def _package(name: str) -> Path:
    """Return the folder of an installed package without importing it, as importing scikit-learn takes a second."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise AuditError(f"photographs: the package {name} is not installed.")
    return Path(spec.origin).parent


def _attribution() -> str:
    readme = _package("sklearn") / "datasets" / "images" / "README.txt"
    credit = readme.read_text(encoding="utf-8").strip() if readme.is_file() else "see scikit-learn's documentation"
    return (
        "astronaut and hubble_deep_field (NASA) and rocket (SpaceX): public domain; the others of scikit-image: CC0.\n"
        f"china and flower, from scikit-learn, CC BY 2.0, cropped and resized:\n{credit}"
    )
