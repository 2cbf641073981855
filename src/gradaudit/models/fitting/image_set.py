"""The images that a network is trained on, in memory, and those that are held out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...values.errors import AuditError

SHARE, MOST = 10, 1_000  # one image in ten is held out, at most 1 000
LEAST = 10  # fewest images


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory.

    Args:
        pixels: `[N, C, H, W]` bytes.
        labels: `[N]` integers, or `None`.
    """

    pixels: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape `(C, H, W)` of an image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the images at `indices` as `[B, C, H, W]` in [0, 1], and their labels."""
        pictures = self.pixels[indices].float().div(255)
        return pictures, None if self.labels is None else self.labels[indices]

    def first(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return the first `count` images, or all if there are fewer."""
        return self.take(torch.arange(min(count, len(self))))

    def draw(self, count: int, *, flip: bool) -> tuple[Tensor, Tensor | None]:
        """Return `count` images drawn from torch's global generator, with repetitions; `flip` mirrors half of them."""
        pictures, labels = self.take(torch.randint(len(self), (count,)))
        if flip:
            mirrored = torch.rand(count) < 0.5
            pictures[mirrored] = pictures[mirrored].flip(-1)
        return pictures, labels

    def split(self, seed: int) -> tuple[ImageSet, ImageSet]:
        """Return the images to train on and those held out: one in ten, at most 1 000, drawn by the seed.

        Raises:
            AuditError: There are fewer than 10 images.
        """
        if len(self) < LEAST:
            raise AuditError(f"--data: {len(self)} images are too few to train on. Give at least {LEAST}.")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        held = min(len(self) // SHARE, MOST)
        return self._at(order[held:]), self._at(order[:held])

    def _at(self, indices: Tensor) -> ImageSet:
        return ImageSet(self.pixels[indices], None if self.labels is None else self.labels[indices])
