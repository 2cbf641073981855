"""Every local epoch sees the same examples, in whatever order (DLFA; Dimitrov et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ....client.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..part import Prior, Progress

FILTERS = 96


@dataclass(frozen=True)
class EpochOrder(Prior):
    """Mean over pairs of epochs of the squared difference between what is pooled over the copies of each.

    For candidates `[E B, C, H, W]` of `EpochCopies`. Pooling forgets the order, so that the penalty is zero where the
    epochs hold the same pictures, differently ordered (Dimitrov et al., arXiv:2206.12395, section 4). Squares are means
    over the pooled entries, in normalised space; zero for a single epoch.

    Args:
        pool: Over the copies of an epoch.
        features: What is pooled: pixels, or a fixed random 3x3 convolution with 96 filters of unit gain.
        norm: `"l2"` squares the differences, `"l1"` takes their absolute value.
    """

    needs: ClassVar[Knowledge] = Knowledge.LOCAL_TRAINING
    pool: Literal["mean", "max"] = "mean"
    features: Literal["pixels", "convolution"] = "pixels"
    norm: Literal["l2", "l1"] = "l2"

    def bind(self, seen: Observation) -> Callable[[Tensor, Progress], Tensor]:
        """The penalty; raises `AttackFailed` where the epochs are not known, or candidates do not divide by them."""
        if seen.training is None:
            raise AttackFailed(f"{self!r} needs the local training.")
        epochs, filters = seen.training.epochs, self._filters(seen)

        def penalty(inputs: Tensor, at: Progress) -> Tensor:
            if len(inputs) % epochs:
                raise AttackFailed(f"{self!r} needs {epochs} copies of every example. Found {len(inputs)} pictures.")
            found = inputs if filters is None else conv2d(inputs, filters.to(inputs), padding=1)
            by_epoch = found.unflatten(0, (epochs, -1))
            pooled = by_epoch.mean(1) if self.pool == "mean" else by_epoch.amax(1)
            pairs = torch.combinations(torch.arange(epochs, device=inputs.device))
            if not len(pairs):
                return 0 * inputs.sum()
            gaps = pooled[pairs[:, 0]] - pooled[pairs[:, 1]]
            return gaps.square().mean() if self.norm == "l2" else gaps.abs().mean()

        return penalty

    def _filters(self, seen: Observation) -> Tensor | None:
        if self.features == "pixels":
            return None
        channels = seen.input_shape[0]
        generator = torch.Generator().manual_seed(0)
        return torch.randn(FILTERS, channels, 3, 3, generator=generator) / (9 * channels) ** 0.5
