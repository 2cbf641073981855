"""One example whose gradient outweighs all others in a layer: D-SNR (Garov et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..received import Received, chance_loss
from ._detector import Detector, Indicator, Places
from ._example_gradients import d_snr, example_gradients


@dataclass(frozen=True)
class DisaggregationRatio(Detector):
    """The gradient of one example in a layer is several times as long as those of all others together.

    D-SNR is max a_i / (sum of a_i - max a_i) over the norms a_i of the examples' gradients in a weight, in evaluation
    mode. The largest one over all weights decides. On a model that fits the batch already, the one example that it fits
    least outweighs the rest too, so that a batch with a mean loss below half of that of guessing (log K) is not judged.

    Args:
        ratio: D-SNR.
        loss: Mean loss over log K from which a batch is judged.
    """

    name: ClassVar[str] = "d-snr"
    paper: ClassVar[str] = "arXiv:2306.03013"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "batch", "labels"})
    sign: ClassVar[str] = "In {where}, the gradient of one example outweighs those of all others of your batch by far."
    none: ClassVar[str] = "In no layer does the gradient of one example outweigh those of all others by far."
    blind: ClassVar[str] = (
        "it needs two examples with a gradient, and a batch that the model does not fit yet (a mean loss of at least "
        "half of that of guessing)"
    )
    ratio: float = 5.0
    loss: float = 0.5

    def places(self, received: Received) -> Places:
        """Yield the D-SNR of every weight that has a gradient."""
        facts, chance = example_gradients(received), chance_loss(received)
        if chance is None or float(facts.losses.mean()) < self.loss * chance:
            return
        for name, norms in facts.norms.items():
            ratio = d_snr(norms)
            if ratio is not None:
                yield name, (Indicator("D-SNR", ratio, self.ratio, (0.15, 2.5)),)
