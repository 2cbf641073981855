"""The patches of a vision transformer join without a seam in natural images (GradViT; Hatamizadeh et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Modality
from ...network.vision_transformer import patch_embedding
from ..part import Prior, Progress


@dataclass(frozen=True)
class PatchBorder(Prior):
    """The difference of pixel values across the borders between a vision transformer's patches.

    R_patch = Σ over the inner borders of ||last line of one patch - first line of the next||_2, in both directions. The
    penalty is the mean over the examples, in normalised space. A border is a whole line of the image over all channels.
    The penalty is zero if the image is a single patch.

    Args:
        patch: Side of a patch in pixels; `None` uses the side of the model's patch embedding.
    """

    independent: ClassVar[bool] = True
    steady: ClassVar[bool] = True
    modality: ClassVar[Modality] = Modality.PICTURES
    patch: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch is not None and self.patch < 1:
            raise AttackFailed(f"PatchBorder: patch must be at least 1. Found {self.patch}.")

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the prior with the side of the model's patches. Raise `AttackFailed` if it has no patch embedding."""
        return replace(self, patch=patch_embedding(seen.model).kernel_size[0]) if self.patch is None else self

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        if self.patch is None:
            raise AttackFailed(f"{self!r} must be bound to a model, or be given `patch`.")
        return _jumps(inputs, self.patch) + _jumps(inputs.transpose(-1, -2), self.patch)


def _jumps(inputs: Tensor, patch: int) -> Tensor:
    """Return the sum over the horizontal borders, as a mean over the examples."""
    first = inputs[..., patch::patch, :]
    squares = (first - inputs[..., patch - 1 : -1 : patch, :][..., : first.shape[-2], :]).pow(2).sum((-3, -1))
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt().sum(-1).mean()
