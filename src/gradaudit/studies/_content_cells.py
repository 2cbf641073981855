"""Cells whose private images come from one of several files: in the distribution of a generator and out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ..audit.judge import match
from ..data.modalities.images import to_channels
from ..data.sources import SOURCES, Source
from ..models.generators.trained_generator import Generator
from ..values.chance import seeded
from ..values.files import is_file
from ..values.types import Batch, Reconstruction
from ._bench import Bench
from ._definition import Values
from ._film_cells import FilmCell
from ._generator_rows import alone, unmade

CLASSES = 10
COARSE = 4  # pixels whose mean is the coarse part of an image
SAMPLES = 400
"""Number of images that stand for the distribution of a generator."""


class ContentBench(Bench):
    """The bench of one file of images, or of the images of a generator, in colour, of one size and in ten classes.

    Args:
        content: The `.npz` file, or a generator.
        size: Side of the images in pixels.
        device: Device of networks and private batches.
    """

    def __init__(self, content: Path | Generator, size: int, device: torch.device) -> None:
        super().__init__(content if isinstance(content, Path) else None, {}, device)
        self.content, self.size = content, size

    @cached_property
    def source(self) -> Source:
        """The images, cropped, resized and in colour. A class is the label modulo ten."""
        if isinstance(self.content, Generator):
            return _samples(self.content)
        found = SOURCES["npz"](path=self.content, size=self.size).open()
        assert isinstance(found, Source)
        labels = torch.arange(len(found)) if found.labels is None else found.labels
        pictures = [to_channels(found.pictures[i], 3) for i in range(len(found))]
        return replace(found, pictures=pictures, labels=labels % CLASSES, class_names=())

    @property
    def classes(self) -> int:
        """Number of classes, K, which is that of CIFAR-10 for every content."""
        return CLASSES


@torch.no_grad()
def _samples(generator: Generator) -> Source:
    """Return images of a generator as a source."""
    network, _ = generator.open()
    with seeded(0, torch.device("cpu")):
        labels = torch.arange(SAMPLES) % CLASSES
        given = labels % network.classes if network.classes else None
        pictures = network(torch.randn(SAMPLES, network.latent), given)
    return Source("generator", f"images of the generator {generator.source}", list(pictures), labels)


@lru_cache(maxsize=16)
def _opened(content: Path | Generator, size: int, device: torch.device) -> ContentBench:
    return ContentBench(content, size, device)


@dataclass(frozen=True)
class ContentCell(FilmCell):
    """One attack on batches of one file in the folder that `--data` names, or of the images of a generator.

    Besides the values of `FilmCell`, `coarse` and `fine` are the gains in dB over the mean image of two parts of the
    images: means of 4 x 4 pixels, and what is left when these are enlarged and subtracted.

    Args:
        content: Name of the file, such as `textures_dtd_96.npz`, or a generator.
        size: Side to which its images are cropped and resized, in pixels.
    """

    content: str | Generator = ""
    size: int = 32

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured: a missing file, or a generator that nobody has trained."""
        if bench.data is None or not bench.data.is_dir():
            return "--data must name a folder with the files of images"
        if isinstance(self.content, str) and not is_file(bench.data / self.content):
            return f"there is no {self.content} in the folder that --data names"
        shape = (3, self.size, self.size)
        made_by = alone(self.content) if isinstance(self.content, Generator) else None
        return unmade(self.attack, shape) or unmade(made_by, shape) or super().missing(self._inner(bench))

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of one batch."""
        inner = self._inner(bench)
        inner.take_over(bench)
        return super().measure(inner, seed)

    def look(self, bench: Bench, seed: int, batch: Batch, guess: Reconstruction) -> Values:
        """Return the values of `FilmCell`, and the gains of both parts; save the film of the first measurement."""
        _, indices = self._drawn(bench, seed)
        mean = bench.source.mean_except(indices)
        assert mean is not None
        found = match(batch, guess).inputs.nan_to_num(nan=0.5).clamp(0, 1)
        truth, control = batch.inputs.cpu(), mean.expand_as(batch.inputs).cpu()
        parts = {"coarse": _coarse, "fine": lambda images: images - _coarse(images)}
        gains = {name: _gain(part(found), part(control), part(truth)) for name, part in parts.items()}
        return {**super().look(bench, seed, batch, guess), **gains}

    def _inner(self, bench: Bench) -> ContentBench:
        assert bench.data is not None
        content = bench.data / self.content if isinstance(self.content, str) else self.content
        return _opened(content, self.size, bench.device)


def _coarse(images: Tensor) -> Tensor:
    """Return means of 4 x 4 pixels, enlarged to the size of the images."""
    return interpolate(avg_pool2d(images, COARSE), size=images.shape[-2:], mode="bilinear", align_corners=False)


def _gain(found: Tensor, control: Tensor, truth: Tensor) -> float:
    """Return how much closer `found` is than `control`, in dB of the mean squared error over the batch."""
    ours, theirs = ((side - truth).square().mean().clamp_min(1e-10) for side in (found, control))
    return float(10 * torch.log10(theirs / ours))
