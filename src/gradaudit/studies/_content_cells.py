"""Cells whose private images come from one of several files: in the distribution of a generator and out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch

from ..data.modalities.images import to_channels
from ..data.sources import SOURCES, Source
from ..inversion.run.recipe import Recipe
from ..values.errors import AttackFailed
from ..values.files import is_file
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Values

ASSETS = (
    "its generator is made by `gradaudit train generator --data cifar10.npz --out FOLDER/cifar-dcgan.safetensors` and "
    "found in the folder that GRADAUDIT_ASSETS names"
)


class ContentBench(Bench):
    """The bench of one file of images, in colour and of one size.

    Args:
        file: The `.npz` file.
        size: Side of the images in pixels.
        device: Device of networks and private batches.
    """

    def __init__(self, file: Path, size: int, device: torch.device) -> None:
        super().__init__(file, {}, device)
        self.size = size

    @cached_property
    def source(self) -> Source:
        """The images, cropped, resized and in colour."""
        found = SOURCES["npz"](path=self.data, size=self.size).open()
        assert isinstance(found, Source)
        if found.shape[0] == 3:
            return found
        return replace(found, pictures=[to_channels(found.pictures[i], 3) for i in range(len(found))])


@lru_cache(maxsize=16)
def _opened(file: Path, size: int, device: torch.device) -> ContentBench:
    return ContentBench(file, size, device)


@dataclass(frozen=True)
class ContentCell(AttackCell):
    """One attack on batches of one file in the folder that `--data` names.

    Args:
        content: Name of the file, such as `textures_dtd_96.npz`.
        size: Side to which its images are cropped and resized, in pixels.
    """

    content: str = ""
    size: int = 32

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured: a missing file, or a generator that nobody has trained."""
        if bench.data is None or not bench.data.is_dir():
            return "--data must name a folder with the files of images"
        if not is_file(bench.data / self.content):
            return f"there is no {self.content} in the folder that --data names"
        return unopened(self.attack) or super().missing(_opened(bench.data / self.content, self.size, bench.device))

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of one batch, as for `AttackCell`."""
        assert bench.data is not None
        inner = _opened(bench.data / self.content, self.size, bench.device)
        inner.take_over(bench)
        return super().measure(inner, seed)


def unopened(attack: object) -> str | None:
    """Return why the generators of an attack cannot be opened, or `None`."""
    if not isinstance(attack, Recipe):
        return None
    for stage in attack.stages:
        generator = getattr(stage.parametrisation, "generator", None)
        if generator is not None:
            try:
                generator.open()
            except AttackFailed as error:
                return f"{error} Here {ASSETS}."
    return None
