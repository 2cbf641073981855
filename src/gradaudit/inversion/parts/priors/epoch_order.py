"""Every local epoch uses the same examples, in any order (DLFA; Dimitrov et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..part import Prior, Progress

FILTERS = 96


@dataclass(frozen=True)
class EpochOrder(Prior):
    """The difference between the local epochs' copies of the examples, regardless of their order.

    It is the mean over pairs of epochs of the squared difference between features pooled over each epoch's copies, for
    candidates `[E B, C, H, W]` of `EpochCopies`. Pooling removes the order, so that the penalty is zero if the epochs
    contain the same images in different orders (Dimitrov et al., arXiv:2206.12395, section 4). Squares are means over
    the pooled entries, in normalised space; the penalty is zero for a single epoch.

    Args:
        pool: How the copies of an epoch are pooled.
        features: The features that are pooled: pixels, or a fixed random 3x3 convolution with 96 filters of unit gain.
        norm: `"l2"` squares the differences, `"l1"` uses their absolute value.
    """

    needs: ClassVar[Knowledge] = Knowledge.LOCAL_TRAINING
    pool: Literal["mean", "max"] = "mean"
    features: Literal["pixels", "convolution"] = "pixels"
    norm: Literal["l2", "l1"] = "l2"

    def bind(self, seen: Observation) -> Callable[[Tensor, Progress], Tensor]:
        """Return the penalty. Raise `AttackFailed` if the epochs are not known.

        The penalty raises it if the number of candidates is not a multiple of the epochs.
        """
        if seen.training is None:
            raise AttackFailed(f"{self!r} needs the local training.")
        epochs, filters = seen.training.epochs, self._filters(seen)

        def penalty(inputs: Tensor, at: Progress) -> Tensor:
            if len(inputs) % epochs:
                raise AttackFailed(f"{self!r} needs {epochs} copies of every example. Found {len(inputs)} images.")
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
