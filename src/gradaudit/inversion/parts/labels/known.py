"""Labels granted to the adversary: an upper bound on what it can do, which the threat model must state."""

from dataclasses import dataclass
from typing import ClassVar

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels


@dataclass(frozen=True)
class KnownLabels(LabelInference):
    """The granted labels, in the order of the batch."""

    name: ClassVar[str] = "known"
    needs: ClassVar[Knowledge] = Knowledge.LABELS
    infers: ClassVar[bool] = False

    def read(self, seen: Observation) -> Labels:
        """Return the labels, `[B]` integers. Raise `AttackFailed` if none were granted."""
        if seen.labels is None:
            raise AttackFailed(f"{self!r} needs labels, but none were granted. Grant LABELS.")
        return Labels(seen.labels, granted=True)
