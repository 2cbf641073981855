"""The description of a metric, and the metric that decides for each modality whether an example is recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from .discovery import Registry, values_of
from .types import Batch, Modality


@dataclass(frozen=True)
class Measure:
    """The metric that decides whether an example of a modality is recovered, with its thresholds.

    Gains are differences between the reconstruction and the control. Thresholds are in the metric's own unit.

    Args:
        metric: Key of the metric in `Scores` and `METRICS`.
        name: Name of the metric for readers.
        noun: What one example is called.
        unit: Unit in which a value is shown.
        gain_unit: Unit in which a gain is shown.
        factor: Factor from the metric's own unit to the unit shown.
        digits: Number of decimals shown.
        recovered_gain: Smallest gain of an example that counts as recovered.
        recovered: Smallest value of an example that counts as recovered.
        trace_gain: Smallest gain that counts as a trace.
        line: Name of the line at `recovered_gain` in the plot of gains.
        ceiling: Value of the control from which an example cannot be judged: a guess without the update is then so
            close that no attack can do recognisably better.
        also: Other metrics whose gain over the control counts as a trace.
    """

    metric: str
    name: str
    noun: str
    unit: str
    gain_unit: str
    factor: float
    digits: int
    recovered_gain: float
    recovered: float
    trace_gain: float
    ceiling: float
    line: str = "recovered"
    also: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """The other metrics of its modality, which are listed beside it."""
        modality = METRICS[self.metric].modality if self.metric in METRICS else None
        return tuple(key for key, metric in METRICS.items() if metric.modality == modality and key != self.metric)

    @property
    def nouns(self) -> str:
        """The plural of `noun`."""
        return f"{self.noun}s"

    @property
    def prefix(self) -> str:
        """The name of the metric before a value, empty in decibels, whose unit suffices."""
        return "" if self.unit == "dB" else f"{self.name} "

    def text(self, value: float, *, signed: bool = False) -> str:
        """Return a value such as `26.1 dB` or `87 %`; `signed` is for a gain, with a sign and in points."""
        rounded = round(self.factor * value, self.digits) + 0.0  # adding zero turns -0.0 into 0.0
        unit = self.gain_unit if signed else self.unit
        return f"{rounded:{'+' if signed else ''}.{self.digits}f} {unit}"


@dataclass(frozen=True, eq=False)
class Compared:
    """A batch with its reconstruction or control, from which a metric is computed.

    Args:
        guess: The reconstruction or the control, `[B, ...]`, in the order of the batch, on the CPU.
        truth: The private examples, `[B, ...]`, on the CPU.
        distractors: Other examples of the source, `[N, ...]`, or `None`.
        counted: For text, `[B, L]` booleans: the positions of the private text, without padding and markers.
        read: For text, a function from the ids `[L]` of a text to its words.
        batch: The private batch with its further fields, if a metric needs more than `truth`.
    """

    guess: Tensor
    truth: Tensor
    distractors: Tensor | None = None
    counted: Tensor | None = None
    read: Callable[[Tensor], str] | None = None
    batch: Batch | None = None

    @cached_property
    def words(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """For text, the reconstructions and the private texts in words, without padding and markers."""
        assert self.counted is not None
        assert self.read is not None
        sides = ((side, self.counted) for side in (self.guess, self.truth))
        guesses, truths = (tuple(self.read(row[kept]) for row, kept in zip(*side, strict=True)) for side in sides)
        return guesses, truths


Computed = Tensor | str
"""One value for each example, `[B]`, or the reason why the metric does not apply, without a full stop."""


@dataclass(frozen=True)
class Metric:
    """A metric: its description and its computation.

    A `Metric` that a module of `metrics/` binds to a public name is registered automatically.

    Args:
        key: Key of the metric in findings and in the output of the commands.
        name: Name of the metric for readers.
        unit: Unit of a value, or empty.
        higher_is_better: Whether a higher value means a better reconstruction, that is, a larger leak.
        meaning: The meaning of a value, in one sentence.
        paper: Where the metric was published (arXiv id, DOI or OpenReview id).
        modality: Modality of the examples that it scores, or `None` if it scores labels.
        compute: Function from a batch to one value for each example, or to the reason why it does not apply; `None` if
            the metric scores labels.
        headline: The thresholds, if this is the metric that decides whether an example of the modality is recovered.
        place: Position in lists and tables, lowest first; metrics of equal position are sorted by their keys.
    """

    key: str
    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    paper: str
    modality: Modality | None = None
    compute: Callable[[Compared], Computed] | None = field(default=None, repr=False)
    headline: Measure | None = None
    place: int = 1_000


def _key(value: Any) -> str | None:
    return value.key if isinstance(value, Metric) else None


METRICS: Registry[Metric] = Registry(
    "gradaudit.metrics", "gradaudit.metrics", _key, values_of(Metric), order=lambda metric: metric.place
)
"""Every metric of this and other packages by its key, sorted by `place`."""


class Headlines(Mapping[Modality, Measure]):
    """The deciding metric of each modality with its thresholds, from the headlines of the metrics."""

    @cached_property
    def _found(self) -> dict[Modality, Measure]:
        found: dict[Modality, Measure] = {}
        for metric in METRICS.values():
            if metric.headline and metric.modality is not None:
                found.setdefault(metric.modality, metric.headline)
        return found

    def __getitem__(self, modality: Modality) -> Measure:
        return self._found[modality]

    def __iter__(self) -> Iterator[Modality]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


MEASURES = Headlines()
"""Modality -> the metric that decides whether an example is recovered, with its thresholds."""
