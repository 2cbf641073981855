"""One example that holds nearly all of the batch's gradient, at a loss far above the others (Geminio)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..received import Received, chance_loss
from ._detector import Detector, Indicator, Places
from ._example_gradients import example_gradients


@dataclass(frozen=True)
class GradientConcentration(Detector):
    """The largest example has nearly all of the gradient, and its loss is far above that of guessing.

    The share is that of the largest norm in the sum of the norms of all examples' gradients over all parameters. On a
    well trained model one example that is still wrong has such a share too; its loss was at most 8.2 times that of
    guessing (log K).

    Args:
        share: Share of the largest example.
        loss: Largest loss of an example over log K.
    """

    paper: ClassVar[str] = "arXiv:2411.14937"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "batch", "labels"})
    sign: ClassVar[str] = "One example holds nearly the whole gradient of your batch, at a loss far above guessing."
    none: ClassVar[str] = "No example holds nearly the whole gradient of your batch at a loss far above guessing."
    blind: ClassVar[str] = "it needs two examples with a gradient, and logits for classes"
    share: float = 0.9
    loss: float = 12.0

    def places(self, received: Received) -> Places:
        """Yield both numbers of the batch."""
        facts, chance = example_gradients(received), chance_loss(received)
        total = float(facts.total.sum())
        if len(facts.total) > 1 and total > 0 and chance is not None:
            yield (
                "",
                (
                    Indicator(
                        "share of the largest example", float(facts.total.max()) / total, self.share, (0.13, 1.0)
                    ),
                    Indicator("largest loss over log K", float(facts.losses.max()) / chance, self.loss, (0.0, 8.2)),
                ),
            )
