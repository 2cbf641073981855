"""The base class of the detectors, and what a detector returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ...values.discovery import subclasses_of
from ..received import Received, shortened

MODEL, BATCH, LABELS = "model", "batch", "labels"
BEFORE, OTHERS = "before", "others"
LACKING = {
    BATCH: "it needs a batch of your own",
    LABELS: "it needs the labels of the batch",
    BEFORE: "it needs the model of the round before",
    OTHERS: "it needs the digests of the models that other clients received",
}


@dataclass(frozen=True)
class Indicator:
    """One number that a detector compares.

    Args:
        name: What is measured.
        value: Its value; may be infinite.
        threshold: The smallest value that counts as a sign.
        honest: Smallest and largest value over the honest models of `benchmarks/results/detectors.md`.
    """

    name: str
    value: float
    threshold: float
    honest: tuple[float, float]

    @property
    def fires(self) -> bool:
        """Whether the value reaches the threshold."""
        return self.value >= self.threshold

    @property
    def words(self) -> str:
        """The value with its threshold and honest range, such as `0.98 (alarm from 0.5; honest 0 to 0.04)`."""
        low, high = (f"{bound:.2g}" for bound in self.honest)
        return f"{self.name} {self.value:.3g} (alarm from {self.threshold:g}; honest {low} to {high})"


Places = Iterator[tuple[str, tuple[Indicator, ...]]]
"""Place in the model, such as the name of a weight, and its indicators; the place is a sign if all of them fire."""


@dataclass(frozen=True)
class Detection:
    """What a detector found.

    Args:
        detector: Its name.
        alarm: Whether the model shows the sign; `None` if this cannot be judged, which is no all-clear.
        indicators: The indicators of the place that is nearest to the sign; empty if it cannot be judged.
        where: Places with the sign, or the place of the indicators; may be empty.
        paper: Paper of the detector, or of the modification whose sign it is.
        sentence: The result in one sentence.
    """

    detector: str
    alarm: bool | None
    indicators: tuple[Indicator, ...]
    where: tuple[str, ...]
    paper: str
    sentence: str


class Detector(ABC):
    """One sign of a modified model: a frozen dataclass whose fields are its thresholds.

    A subclass in a module of `client/detectors/` is registered automatically, under its own `name` or the name of the
    class in lower case with hyphens. Another package adds one through the entry points `gradaudit.detectors`. A
    threshold is one that was measured on honest models (`python -m benchmarks.detectors`).

    Attributes:
        paper: Paper of the detector, or of the modification whose sign it is.
        needs: What must be known, of `"model"` (the weights fit the client's own architecture), `"batch"`, `"labels"`,
            `"before"` (the round before) and `"others"` (digests of other clients). Weights are always known.
        sign: What an alarm means, as a sentence; `{where}` stands for the places.
        none: What no alarm means, as a sentence.
        blind: Why a model without any place cannot be judged, without a full stop.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    sign: ClassVar[str] = "{where} shows the sign."
    none: ClassVar[str] = "No place shows the sign."
    blind: ClassVar[str] = "no part of the model has the form that it looks at"

    @abstractmethod
    def places(self, received: Received) -> Places:
        """Yield every place of the model that can be judged, with its indicators."""

    def detect(self, received: Received) -> Detection:
        """Return what the detector found. Raises `AuditError` if the model cannot take the batch."""
        lacking = self._lacking(received)
        places = [] if lacking else list(self.places(received))
        if not places:
            return self._unjudged(lacking or self.blind)
        signs = [place for place in places if all(one.fires for one in place[1])]
        where, indicators = max(signs or places, key=lambda place: _nearness(place[1]))
        names = tuple(place[0] for place in signs if place[0]) if signs else (where,) if where else ()
        sentence = self.sign.format(where=shortened(names)) if signs else self.none
        return Detection(self.title, bool(signs), indicators, names, self.paper, sentence)

    @property
    def title(self) -> str:
        """The name of the detector in the table."""
        return subclasses_of(Detector)(type(self)) or type(self).__name__

    def _lacking(self, received: Received) -> str:
        """Return what is missing, without a full stop, or an empty string."""
        absent = {
            MODEL: received.model is None,
            BATCH: received.inputs is None,
            LABELS: received.labels is None,
            BEFORE: received.before is None,
            OTHERS: not received.digests,
        }
        fix = {**LACKING, MODEL: "the weights do not fit your own architecture, so it cannot be run"}
        return next((fix[need] for need in fix if need in self.needs and absent[need]), "")

    def _unjudged(self, why: str) -> Detection:
        return Detection(self.title, None, (), (), self.paper, f"Cannot be judged: {why}.")


def _nearness(indicators: tuple[Indicator, ...]) -> float:
    """Return how near a place is to the sign: the smallest quotient of value and threshold."""
    return min((one.value / one.threshold for one in indicators), default=-math.inf)
