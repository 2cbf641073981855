"""A generator that can be cut after any block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


class GeneratorNetwork(nn.Module):
    """A generator: a latent vector, and a class if it is conditional, to an image in [0, 1].

    The blocks are applied one after another. Their outputs are the features that GIFD optimises; the last one gives
    pixels in [-1, 1], which `finish` maps to [0, 1].

    Args:
        blocks: The blocks; the first takes `[B, latent + classes]`, the last returns `[B, C, size, size]` in [-1, 1].
        latent: Width of the latent vector, which is drawn from N(0, 1).
        classes: K if the generator is class-conditional, else 0.
        shape: `(C, H, W)` of an image.
    """

    def __init__(self, blocks: Sequence[nn.Module], latent: int, classes: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.latent, self.classes, self.shape = latent, classes, shape

    def entry(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the input `[B, latent + classes]` of the first block.

        Args:
            z: `[B, latent]`.
            labels: `[B]` integers or `[B, K]` probabilities; a generator that is not conditional ignores them.

        Raises:
            ValueError: The generator is conditional, and the labels are missing or of another number of classes.
        """
        if not self.classes:
            return z
        if labels is None:
            raise ValueError("a class-conditional generator needs labels")
        if not labels.is_floating_point():
            if labels.numel() and int(labels.max()) >= self.classes:
                raise ValueError(f"the generator has {self.classes} classes, the labels more")
            labels = one_hot(labels, self.classes)
        if labels.shape[-1] != self.classes:
            raise ValueError(f"the generator has {self.classes} classes, the labels {labels.shape[-1]}")
        return torch.cat([z, labels.to(z)], dim=1)

    def finish(self, pixels: Tensor) -> Tensor:
        """Map the output of the last block, in [-1, 1], to [0, 1]."""
        return (pixels + 1) / 2

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images `[B, C, H, W]` in [0, 1]; arguments as for `entry`."""
        features = self.entry(z, labels)
        for block in self.blocks:
            features = block(features)
        return self.finish(features)
