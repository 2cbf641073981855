"""Biases that are all equal."""

from dataclasses import dataclass
from typing import ClassVar

from gradaudit.client.detectors import Detector, Indicator, Places
from gradaudit.client.received import Received


@dataclass(frozen=True)
class EqualBiases(Detector):
    """The biases of a layer are all equal, and not zero.

    Args:
        share: Share of biases that equal the first one.
    """

    paper: ClassVar[str] = "arXiv:2110.13057"
    share: float = 1.0

    def places(self, received: Received) -> Places:
        """Yield the share of every bias."""
        for name, value in received.weights.items():
            if name.endswith("bias") and value.any():
                share = float((value == value.flatten()[0]).double().mean())
                yield name, (Indicator("share of equal biases", share, self.share, (0.0, 0.1)),)
