"""The result of one training of a federation, as a frozen value that converts to and from one line of JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .records import Number, checked


@dataclass(frozen=True)
class FederationResult:
    """One training of a federation with one seed.

    Args:
        trial: Name of the trial, a hash of everything that the result depends on.
        client: Short name of the clients' defenses.
        number: Number of the seed, from 0.
        scores: `(round, accuracy on the held-out examples in [0, 1], bits that a client has sent so far)`; the first
            has round 0.
        rate: Step size of the server.
        chance: Share of the most frequent class among the held-out examples; NaN where labels are no classes.
        settings: The section `federation:` with all defaults.
        seconds: Wall time.
        defended: Whether the clients have a defense.
        diverged: The round in which the model stopped being finite, or `None`.
        grid: The keys of the sweep on which the training depends -> their values; empty in an audit.
    """

    trial: str
    client: str
    number: int
    scores: tuple[tuple[int, Number, Number], ...]
    rate: float
    chance: Number
    settings: Mapping[str, Any]
    seconds: float
    defended: bool = False
    diverged: int | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Accuracy after the last round."""
        return self.scores[-1][1]

    @property
    def bits(self) -> float:
        """Bits that a client sends in all rounds."""
        return self.scores[-1][2]

    def accuracy_within(self, bits: float) -> float:
        """Return the accuracy after the last evaluated round in which a client has sent at most `bits`."""
        return [accuracy for _, accuracy, spent in self.scores if spent <= bits * (1 + 1e-9)][-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`; NaN becomes `None`."""
        chance = None if math.isnan(self.chance) else self.chance
        return {**asdict(self), "chance": chance, "settings": dict(self.settings), "grid": dict(self.grid)}

    @classmethod
    def from_json(cls, record: Any) -> FederationResult:
        """Return the result of which `to_json` returned `record`. Raise `ValueError` for a wrong type or no score."""
        found = checked(cls, record)
        if not found.scores or found.scores[0][2] != 0 or not all(0 <= entry[1] <= 1 for entry in found.scores):
            raise ValueError("scores: must begin before the first round and hold accuracies from 0 to 1")
        return found
