"""Series side by side: their means, and their paired differences from a baseline on the same batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics import Interval, bootstrap_interval
from ..values.characters import shortened
from ..values.errors import AuditError
from ..values.validation import suggest
from .series import ComparedQuantity, Series

COVERAGE = {3: 72, 5: 84, 10: 91, 20: 93}
"""Number of normal values -> percentage of nominal 95 % intervals that hold the true mean, as measured."""
FEW = 10  # with fewer batches, the notes say what the intervals are worth


@dataclass(frozen=True)
class Paired:
    """The paired difference of a series from the baseline in one quantity.

    Args:
        interval: Mean difference with its 95 % interval, or `None` if the two cannot be paired.
        why_not: Why they cannot be paired, without a full stop, or empty.
        remark: What is left out if only some batches are in both, or empty.
    """

    interval: Interval | None = None
    why_not: str = ""
    remark: str = ""


@dataclass(frozen=True)
class SideBySide:
    """A comparison.

    Args:
        series: Its series, in the order in which they were given.
        quantities: The quantities that are compared.
        baseline: Label of the series from which differences are taken.
        means: Label and quantity -> mean with its 95 % interval; absent where there is no value.
        differences: Label and quantity -> difference from the baseline, of all other series.
        notes: Sentences for the reader.
    """

    series: tuple[Series, ...]
    quantities: tuple[ComparedQuantity, ...]
    baseline: str
    means: Mapping[tuple[str, str], Interval]
    differences: Mapping[tuple[str, str], Paired]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return every series with its means, differences and values of each batch, and the notes."""
        rows = []
        for one in self.series:
            columns = {}
            for quantity in self.quantities:
                paired = self.differences.get((one.label, quantity.key))
                columns[quantity.key] = {
                    "mean": _bounds(self.means.get((one.label, quantity.key))),
                    "difference": _bounds(paired.interval) if paired else None,
                    "why_not": paired.why_not if paired else "",
                }
            values = [
                {
                    "batch": entry.key[0],
                    "seed": entry.key[1],
                    "repeat": entry.key[2],
                    "values": {q.key: entry.values.get(q.key) for q in self.quantities},
                    "not_judged": entry.not_judged,
                }
                for entry in one.entries
            ]
            rows.append({"label": one.label, "run": one.run, "kind": one.kind, "columns": columns, "batches": values})
        return {"baseline": self.baseline, "series": rows, "notes": list(self.notes)}


def side_by_side(
    series: Sequence[Series],
    quantities: Mapping[str, ComparedQuantity],
    notes: Iterable[str] = (),
    *,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
) -> SideBySide:
    """Return a comparison of series, such as those of `read_series`.

    Args:
        series: At least one series; no two labels are equal.
        quantities: Every quantity of the series by its key.
        notes: Sentences for the reader, which precede those of the comparison.
        metrics: Keys of the quantities to compare; by default the usual ones.
        baseline: Label of the series from which differences are taken; by default the first.

    Raises:
        AuditError: A metric or the baseline is unknown, or no series has a value of a metric.
    """
    labels = [one.label for one in series]
    if baseline is not None and baseline not in labels:
        raise AuditError(f"--baseline {baseline}: no series has this label{suggest(baseline, labels)}")
    base = series[labels.index(baseline) if baseline is not None else 0]
    chosen = _chosen(series, quantities, metrics)
    means = {
        (one.label, quantity.key): bootstrap_interval(values)
        for one in series
        for quantity in chosen
        if (values := one.all_of(quantity.key))
    }
    differences = {
        (one.label, quantity.key): pair(one, base, quantity) for one in series if one is not base for quantity in chosen
    }
    said = [*notes, *(note for one in series for note in _said(one, chosen)), *_pairs_said(differences, base, chosen)]
    intervals = [*means.values(), *(paired.interval for paired in differences.values() if paired.interval)]
    return SideBySide(tuple(series), chosen, base.label, means, differences, (*dict.fromkeys(said), *_worth(intervals)))


def pair(one: Series, base: Series, quantity: ComparedQuantity) -> Paired:
    """Return the difference of `one` from `base` over the batches of both, or why there is none."""
    mine, theirs = one.of(quantity.key), base.of(quantity.key)
    if why := _why_not(one, base):
        return Paired(why_not=why)
    if not mine:
        return Paired(why_not="it has no value")
    if not theirs:
        return Paired(why_not=f"{base.label} has no value")
    common = [key for key in mine if key in theirs]
    if not common:
        return Paired(why_not="no batch has a value in both")
    left = len({entry.key for entry in (*one.entries, *base.entries)}) - len(common)
    shared = "the batch that has" if len(common) == 1 else f"the {len(common)} batches that have"
    remark = f"{shared} a value in both; {left} {'other is' if left == 1 else 'others are'} left out" if left else ""
    return Paired(bootstrap_interval(mine[key] - theirs[key] for key in common), remark=remark)


def _why_not(one: Series, base: Series) -> str:
    """Return why the batches of two series are not the same, or an empty string if at least one is."""
    if one.origin != base.origin:
        return "they are not of the same study, and each study draws its own batches"
    for series in (one, base):
        if any(not entry.key[0] for entry in series.entries):
            return f"{series.run} recorded no fingerprints of its data; run it again with this release"
    mine, theirs = ({entry.key for entry in series.entries} for series in (one, base))
    if mine & theirs:
        return ""
    if {key[0] for key in mine} & {key[0] for key in theirs}:
        if {key[:2] for key in mine} & {key[:2] for key in theirs}:
            return "other repeats: the same data and seed, under another number of the batch"
        return f"other seeds on the same data: {_seeds(one)} against {_seeds(base)}"
    if not {key[1] for key in mine} & {key[1] for key in theirs}:
        return f"other seeds, so that no batch is the same: {_seeds(one)} against {_seeds(base)}"
    return "other data: no batch is the same, although the seeds are"


def _seeds(series: Series) -> str:
    seeds = sorted({entry.key[1] for entry in series.entries})
    shown = ", ".join(map(str, seeds[:3])) + (", …" if len(seeds) > 3 else "")
    return f"seed{'' if len(seeds) == 1 else 's'} {shown}"


def _chosen(
    series: Sequence[Series], quantities: Mapping[str, ComparedQuantity], metrics: Sequence[str]
) -> tuple[ComparedQuantity, ...]:
    present = {key for one in series for entry in one.entries for key in (*entry.values, *entry.not_finite)}
    if not metrics:
        usual = tuple(quantity for quantity in quantities.values() if quantity.usual and quantity.key in present)
        if not usual:
            raise AuditError(f"no case can be judged, so there is nothing to compare: {_reasons(series)}")
        return usual
    spelled = {_loose(name): key for key, quantity in quantities.items() for name in (quantity.name, key)}
    keys = dict.fromkeys(name if name in quantities else spelled.get(_loose(name), name) for name in metrics)
    for name in keys:
        if name not in quantities:
            raise AuditError(f"--metric {name}: unknown{suggest(name, sorted(present))}")
        if name not in present:
            raise AuditError(f"--metric {name}: no series has a value of it. These are there: {_listed(present)}.")
    return tuple(quantities[name] for name in keys)


def _reasons(series: Sequence[Series]) -> str:
    return " ".join(dict.fromkeys(why for one in series for why in one.not_judged)) or "no trial has a finite value."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _loose(name: str) -> str:
    return name.strip().lower().replace("-", " ").replace("_", " ")


def _said(one: Series, quantities: Sequence[ComparedQuantity]) -> Iterable[str]:
    """Yield what is missing in a series."""
    total = len(one.entries)
    for why, count in Counter(one.not_judged).items():
        yield f"{one.label}: {count} of {_count(total, 'batch')} cannot be judged: {_stopped(why)}"
    for quantity in quantities:
        strange = sum(quantity.key in entry.not_finite for entry in one.entries)
        if strange:
            yield f"{one.label}: the {quantity.name} of {strange} of {_count(total, 'batch')} is no finite number."
        absent = total - len(one.not_judged) - len(one.all_of(quantity.key)) - strange
        if absent and one.all_of(quantity.key):
            have = "has" if absent == 1 else "have"
            yield f"{one.label}: {absent} of {_count(total, 'batch')} {have} no {quantity.name}."
    twice = total - len({entry.key for entry in one.entries})
    if twice:
        yield f"{one.label}: {_count(twice, 'result')} with the batch and seed of another; pairs use the first of them."


def _pairs_said(
    differences: Mapping[tuple[str, str], Paired], base: Series, quantities: Sequence[ComparedQuantity]
) -> Iterable[str]:
    """Yield a sentence for each reason why a series is not paired, or not in all batches."""
    names = {quantity.key: quantity.name for quantity in quantities}
    reasons: dict[tuple[str, str], list[str]] = {}
    for (label, key), paired in differences.items():
        if paired.why_not:
            reasons.setdefault((label, f"is not paired with {base.label}: {paired.why_not}"), []).append(names[key])
        elif paired.remark:
            reasons.setdefault((label, f"is paired with {base.label} on {paired.remark}"), []).append(names[key])
    for (label, reason), of in reasons.items():
        where = "" if len(of) == len(quantities) else f" ({', '.join(of)})"
        yield f"{label} {reason}{where}."


def _worth(intervals: Sequence[Interval]) -> Iterable[str]:
    """Yield what the intervals are worth with few batches."""
    sizes = [interval.n for interval in intervals]
    if 1 in sizes:
        yield "A mean of one batch has no interval."
    few = [size for size in sizes if 1 < size < FEW]
    if few:
        measured = ", ".join(f"{share} % with {n}" for n, share in COVERAGE.items())
        yield (
            f"Intervals over {min(few)} batches are too narrow. In a simulation with n normal values, intervals of "
            f"nominally 95 % hold the true mean in {measured.replace('with', 'with n =', 1)} of the cases."
        )


def _count(amount: int, noun: str) -> str:
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}{'es' if noun.endswith('h') else 's'}"


def _stopped(text: str) -> str:
    return shortened(text, 300).rstrip(".") + "."


def _bounds(found: Interval | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = (None if bound != bound else bound for bound in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}
