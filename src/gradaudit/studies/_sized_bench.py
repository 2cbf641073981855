"""A bench whose images have another size."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import torch

from ..data.image_arrays import PixelArray
from ..data.sources import SOURCES, Source
from ._bench import Bench

PHOTOGRAPHED = 224  # largest side of the built-in photographs in pixels


class SizedBench(Bench):
    """The data and networks of another bench, with its images resized.

    Args:
        origin: The other bench; the same seed draws the same images there.
        size: Side of the images in pixels.
    """

    def __init__(self, origin: Bench, size: int) -> None:
        super().__init__(origin.data, origin.weights, origin.device)
        self.origin, self.size = origin, size

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the other bench and the size to another process."""
        return SizedBench, (self.origin, self.size)

    @cached_property
    def source(self) -> Source:
        """The resized images: the photographs from their files, other images scaled."""
        source = self.origin.source
        if source.name == "photographs":
            source = SOURCES["photographs"](size=min(self.size, PHOTOGRAPHED)).open()
        if source.shape[-2:] == (self.size, self.size):
            return source
        pixels: torch.Tensor = source.pictures.pixels  # type: ignore[attr-defined]  # both sources of a bench have them
        return replace(source, pictures=PixelArray(pixels, self.size))

    def chance(self, seed: int) -> int:
        """Return the seed of one measurement, that of the other bench."""
        return self.origin.chance(seed)


def at_size(bench: Bench, size: int | None) -> Bench:
    """Return a bench with images of `size` pixels that reports to the same measurement; itself if they have that size.

    Args:
        bench: The bench.
        size: Side in pixels; `None` for the images as they are.
    """
    if size is None or bench.source.shape[-2:] == (size, size):
        return bench
    found = _sized(bench, size)
    found.take_over(bench)
    return found


@lru_cache(maxsize=8)
def _sized(bench: Bench, size: int) -> SizedBench:
    return SizedBench(bench, size)
