"""What a metric is, and by which of them an example of each modality is judged."""

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
    """The metric that decides whether an example came back.

    Args:
        metric: Its key in `Scores` and `METRICS`.
        name: As shown to a reader.
        noun: What one example is.
        unit: Of a value as it is shown.
        gain_unit: Of a difference as it is shown.
        factor: From the metric's own unit to the one shown.
        digits: Decimals shown.
        recovered_gain: Over the control, in the metric's own unit, from which an example counts as recovered.
        recovered: Value from which an example counts as recovered, in the metric's own unit.
        trace_gain: Over the control, in the metric's own unit, from which there is a trace.
        line: What reaching `recovered_gain` is called in the plot of gains.
        ceiling: Of the control, in the metric's own unit, from which an example cannot be judged: a guess without the
            update comes so close that no attack could be told from it.
        also: Other metrics whose gain over the control can make a trace.
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
        """Metrics listed beside it: all others of its modality."""
        modality = METRICS[self.metric].modality if self.metric in METRICS else None
        return tuple(key for key, metric in METRICS.items() if metric.modality == modality and key != self.metric)

    @property
    def nouns(self) -> str:
        """Its plural."""
        return f"{self.noun}s"

    @property
    def prefix(self) -> str:
        """Its name before a value whose unit does not tell it; decibels tell theirs."""
        return "" if self.unit == "dB" else f"{self.name} "

    def text(self, value: float, *, signed: bool = False) -> str:
        """`26.1 dB`, `87 %`; with its sign, and percent as points, where it is a difference."""
        rounded = round(self.factor * value, self.digits) + 0.0  # adding zero turns -0.0 into 0.0
        unit = self.gain_unit if signed else self.unit
        return f"{rounded:{'+' if signed else ''}.{self.digits}f} {unit}"


@dataclass(frozen=True, eq=False)
class Compared:
    """One batch and what an attack, or the control, says of it: what a metric is computed from.

    Args:
        guess: `[B, ...]`, in the order of the batch, on the CPU.
        truth: `[B, ...]`, on the CPU.
        distractors: `[N, ...]`, other examples of the source, or `None`.
        counted: Of texts: `[B, L]` booleans, which places hold the private text rather than padding or a marker.
        read: Of texts: turns the ids `[L]` of a text into words.
        batch: The private examples with all that is known of them, where there is more than `truth`.
    """

    guess: Tensor
    truth: Tensor
    distractors: Tensor | None = None
    counted: Tensor | None = None
    read: Callable[[Tensor], str] | None = None
    batch: Batch | None = None

    @cached_property
    def words(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of texts: guesses and truths in words, without padding and markers."""
        assert self.counted is not None
        assert self.read is not None
        sides = ((side, self.counted) for side in (self.guess, self.truth))
        guesses, truths = (tuple(self.read(row[kept]) for row, kept in zip(*side, strict=True)) for side in sides)
        return guesses, truths


Computed = Tensor | str
"""One value per example, `[B]`; or why the metric does not apply, as a phrase without a full stop."""


@dataclass(frozen=True)
class Metric:
    """One metric: what it says, and how it is computed. A module of `metrics/` that binds one to a name adds it.

    Args:
        key: In a finding, and in what the commands print.
        name: As shown to a reader.
        unit: Of a value, empty where it has none.
        higher_is_better: A higher value means a better reconstruction, that is, a larger leak.
        meaning: One sentence.
        paper: Where it was published (arXiv id, DOI or OpenReview id).
        modality: Of the examples that it scores, `None` where it scores labels.
        compute: From a batch to one value per example, or to the reason why it does not apply; `None` where it
            scores labels.
        headline: Of the one metric that decides whether an example of the modality came back: its thresholds.
        place: Sorts the metrics in lists and tables, lowest first; those of one place by their keys.
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
"""Every metric by its key, in the order of its place: those of the room `metrics` and of other packages."""


class Headlines(Mapping[Modality, Measure]):
    """What each modality is judged by, as its headline metric says."""

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
"""What each modality is judged by."""
