"""A loss on the client's own batch that is far above that of the round before (Carletti et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..received import Received, chance_loss, differences
from ._detector import Detector, Indicator, Places
from ._example_gradients import example_gradients, losses_with


@dataclass(frozen=True)
class LossJump(Detector):
    """The mean loss of the client's batch rose since the round before, in units of the loss of guessing (log K).

    A round of training lowers the loss of a client, or raises it by a little more than that of guessing where clients
    have other classes. A model that was set up for another purpose has forgotten what it had learnt.

    Args:
        jump: Rise of the mean loss over log K.
    """

    paper: ClassVar[str] = "arXiv:2511.10502"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "batch", "labels", "before"})
    sign: ClassVar[str] = "The loss of your batch rose since the round before by more than training explains."
    none: ClassVar[str] = "The loss of your batch did not rise since the round before by more than training explains."
    blind: ClassVar[str] = "the model of the round before has another architecture, or there are no logits for classes"
    jump: float = 3.0

    def places(self, received: Received) -> Places:
        """Yield the jump of the batch."""
        last, chance = received.before or {}, chance_loss(received)
        shapes, own = ({name: tuple(one.shape) for name, one in side.items()} for side in (last, received.weights))
        if chance is None or differences(own, shapes):
            return
        rise = float(example_gradients(received).losses.mean() - losses_with(received, last).mean())
        yield "", (Indicator("rise of the loss over log K", rise / chance, self.jump, (-2.4, 1.4)),)
