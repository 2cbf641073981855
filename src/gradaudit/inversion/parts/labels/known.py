"""Labels handed to the adversary: an upper bound on what it can do, and the threat model must say so."""

from dataclasses import dataclass
from typing import ClassVar

from ....client.observation import Observation
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
        """`[B]` integers."""
        if seen.labels is None:
            raise AttackFailed(f"{self!r} was handed no labels.")
        return Labels(seen.labels, granted=True)
