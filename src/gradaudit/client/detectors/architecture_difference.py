"""Layers that the client's own architecture, or the model of the round before, does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..received import Received, differences
from ._detector import Detector, Indicator, Places


@dataclass(frozen=True)
class ArchitectureDifference(Detector):
    """The received tensors have other names or shapes than the client's own model, or than those of the round before.

    An imprint that is added to a model is a layer that was not agreed on.

    Args:
        tensors: Number of tensors that differ.
    """

    paper: ClassVar[str] = "arXiv:2110.13057"
    sign: ClassVar[str] = "The architecture is not the one that was agreed on: {where}."
    none: ClassVar[str] = "Names and shapes of all tensors are those that were agreed on."
    blind: ClassVar[str] = "it needs the received weights beside your own model, or the model of the round before"
    tensors: float = 1

    def places(self, received: Received) -> Places:
        """Yield every difference, or one place without a name if there is none."""
        shapes = {name: tuple(value.shape) for name, value in received.weights.items()}
        if received.own is None and received.before is None:
            return
        found = [] if received.own is None else list(differences(received.own, shapes))
        if received.before is not None:
            last = {name: tuple(value.shape) for name, value in received.before.items()}
            found += [f"{line} since the round before" for line in differences(last, shapes)]
        indicator = Indicator("tensors that differ", float(len(found)), self.tensors, (0.0, 0.0))
        yield from ((line, (indicator,)) for line in found or [""])
