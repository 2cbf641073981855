"""The base class of pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Reconstruction
from ..part import Part


class Pooled(NamedTuple):
    """One reconstruction pooled from several.

    Args:
        inputs: `[B, ...]` in the units of the data.
        labels: `[B]` integers, or `None`.
        confidence: See `Reconstruction.confidence`.
    """

    inputs: Tensor
    labels: Tensor | None
    confidence: Tensor | None = None


class Pool(Part):
    """A rule that combines several reconstructions into one.

    `bind(seen)` returns `(members, best first) -> Pooled`, for at least one member.
    """

    def bind(self, seen: Observation) -> Callable[[Sequence[Reconstruction]], Pooled]:
        """Return the function that pools reconstructions of `seen`."""
        raise NotImplementedError
