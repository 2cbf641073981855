"""Series: the values of one attack on one client, or of one cell of a study, one entry for each batch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..audit.sweep_file import value_in_words
from ..values.errors import AuditError
from ..values.finding import Finding
from ..values.measures import METRICS
from .folders import RunFolder, StudyTrial, open_folder

Key = tuple[str, int, int]
"""Fingerprint of the batch, seed and repeat: entries of two series with an equal key are a pair."""
GAIN, LABELS, SECONDS = "gain", "label accuracy", "seconds"
LARGEST = 1e100  # a mean of larger numbers says nothing; NaN is not below it either
DEFENSE = "DEFENSE"  # where it is granted, an attack has it only if its name says so
SEED = "seed"  # a sweep over seeds draws more batches of one series, not more series


@dataclass(frozen=True)
class ComparedQuantity:
    """One column of a comparison.

    Args:
        key: Its name in `--metric`, in CSV and in JSON.
        name: Its name for readers.
        unit: The unit shown, or empty.
        factor: Factor from a value to the value shown.
        digits: Number of decimals shown.
        usual: Whether it is compared by default.
    """

    key: str
    name: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 3
    usual: bool = False

    @property
    def heading(self) -> str:
        """Its name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class BatchValues:
    """The values of one series on one batch.

    Args:
        key: What it is paired by; its first entry is empty where the run recorded no fingerprint.
        values: ComparedQuantity -> finite value; a quantity that does not apply is absent.
        not_judged: Why the case cannot be judged, or empty; it then has no values.
        not_finite: Quantities whose value is NaN, infinite or absurdly large.
    """

    key: Key
    values: Mapping[str, float] = field(default_factory=dict)
    not_judged: str = ""
    not_finite: tuple[str, ...] = ()

    @classmethod
    def of(cls, key: Key, values: Mapping[str, float | None]) -> BatchValues:
        """Return the finite ones of the values, and the names of the others; `None` does not apply."""
        present = {name: value for name, value in values.items() if value is not None}
        finite = {name: value for name, value in present.items() if abs(value) < LARGEST}
        return cls(key, finite, not_finite=tuple(name for name in present if name not in finite))


@dataclass(frozen=True)
class Series:
    """One line of a comparison.

    Args:
        label: Its name, which no other series of the comparison has.
        run: Name of the folder.
        kind: `audit`, `sweep` or `study`.
        entries: One for each batch.
        origin: Of a study its name; batches of two studies are not the same, whatever their seeds.
    """

    label: str
    run: str
    kind: str
    entries: tuple[BatchValues, ...]
    origin: str = ""

    def of(self, quantity: str) -> dict[Key, float]:
        """Return the values of one quantity by what they are paired by; of two with an equal key, the first."""
        found: dict[Key, float] = {}
        for entry in self.entries:
            if quantity in entry.values:
                found.setdefault(entry.key, entry.values[quantity])
        return found

    def all_of(self, quantity: str) -> list[float]:
        """Return every value of one quantity, in the order of the batches."""
        return [entry.values[quantity] for entry in self.entries if quantity in entry.values]

    @property
    def not_judged(self) -> tuple[str, ...]:
        """One reason for each batch that cannot be judged."""
        return tuple(entry.not_judged for entry in self.entries if entry.not_judged)


@dataclass(frozen=True)
class _Draft:
    """A series before its label is known: the parts that the label may consist of."""

    folder: RunFolder
    names: tuple[str, str]  # attack and client, or cell and study
    knowledge: frozenset[str] | None  # facts that the adversary was granted; a study does not say
    grid: Mapping[str, Any]
    entries: tuple[BatchValues, ...]
    origin: str = ""


def read_series(paths: Sequence[Path]) -> tuple[list[Series], dict[str, ComparedQuantity], list[str]]:
    """Return the series of one or more folders, all quantities that they have, and what is missing in the folders.

    Args:
        paths: Folders of audits, demos, sweeps or studies.

    Raises:
        AuditError: A folder is given twice, is not that of a run, or cannot be read, or none of them holds a result.
    """
    places = [Path(path).resolve() for path in paths]
    for place, path in zip(places, paths, strict=True):
        if places.count(place) > 1:
            raise AuditError(f"{path}: is given twice. Name each run once.")
    folders = [open_folder(Path(path)) for path in paths]
    metrics = {finding.measure.metric for folder in folders for finding in folder.findings.values()}
    quantities: dict[str, ComparedQuantity] = {}
    drafts: list[_Draft] = []
    for folder in folders:
        drafts += _of_audit(folder, quantities, several=len(metrics) > 1) + _of_study(folder, quantities)
    if not drafts:
        raise AuditError(f"{', '.join(map(str, paths))}: no trial is finished, so there is nothing to compare.")
    labels = _labels(drafts)
    series = [
        Series(label, draft.folder.name, draft.folder.kind, draft.entries, draft.origin)
        for label, draft in zip(labels, drafts, strict=True)
    ]
    return series, quantities, [note for folder in folders for note in _missing(folder)]


def _of_audit(folder: RunFolder, quantities: dict[str, ComparedQuantity], *, several: bool) -> list[_Draft]:
    groups: dict[Hashable, list[Finding]] = {}
    for found in folder.findings.values():
        cell = json.dumps(_setting(found), sort_keys=True, default=str)
        groups.setdefault(
            (found.attack, found.attack_value, found.client, found.client_value, found.knowledge, cell), []
        ).append(found)
    for found in folder.findings.values():
        for quantity in _quantities(found, several=several):
            quantities.setdefault(quantity.key, quantity)
    drafts = []
    for members in groups.values():
        entries = tuple(_entry(found, several=several) for found in members)
        first = members[0]
        facts = frozenset(first.knowledge) - ({DEFENSE} if first.defended else set())
        drafts.append(_Draft(folder, (first.attack, first.client), facts, _setting(first), entries))
    return drafts


def _setting(found: Finding) -> dict[str, Any]:
    """Return the cell of a sweep without its seed, which changes the batch and not the setting."""
    return {key: value for key, value in found.grid.items() if key != SEED}


def _entry(found: Finding, *, several: bool) -> BatchValues:
    """Return the values of a finding, none if it cannot be judged."""
    key = (found.batch, found.seed, found.repeat)
    if found.cannot_judge:
        return BatchValues(key, not_judged=found.cannot_judge)
    values: dict[str, float | None] = {name: score.mean for name, score in found.scores.named.items()}
    values[_gain_key(found, several=several)] = found.mean_gain if found.scored else None
    values[LABELS] = None if found.labels_granted else found.label_accuracy
    ranks = found.scores.rank
    values["identified"] = sum(place == 1 for place in ranks.per_example) / len(ranks.per_example) if ranks else None
    values |= {"verified": float(found.verified), "objective": found.objective, SECONDS: found.seconds}
    return BatchValues.of(key, values)


def _gain_key(found: Finding, *, several: bool) -> str:
    """Return the key of the gain, with its metric where the comparison holds several of them."""
    return f"{found.measure.metric} {GAIN}" if several else GAIN


def _quantities(found: Finding, *, several: bool) -> Iterable[ComparedQuantity]:
    """Yield the quantities of a finding in the order in which they are shown."""
    measure = found.measure
    yield ComparedQuantity(
        measure.metric, measure.name, measure.unit, measure.factor, max(measure.digits, 1), usual=True
    )
    name = f"gain in {measure.name}" if several or measure.prefix else GAIN
    key = _gain_key(found, several=several)
    yield ComparedQuantity(key, name, measure.gain_unit, measure.factor, max(measure.digits, 1), usual=True)
    yield ComparedQuantity(LABELS, LABELS, "%", 100, 1, usual=True)
    yield ComparedQuantity(SECONDS, "time", "s", digits=2, usual=True)
    for key in found.scores.named:
        metric = METRICS.get(key)
        yield ComparedQuantity(key, metric.name if metric else key, metric.unit if metric else "")
    yield ComparedQuantity("identified", "identified", "%", 100, 1)
    yield ComparedQuantity("verified", "verified", "%", 100, 1)
    yield ComparedQuantity("objective", "objective", digits=6)


def _of_study(folder: RunFolder, quantities: dict[str, ComparedQuantity]) -> list[_Draft]:
    groups: dict[tuple[str, str], list[StudyTrial]] = {}
    for trial in folder.trials.values():
        groups.setdefault((trial.study, trial.cell), []).append(trial)
        for column in trial.values:
            metric = METRICS.get(column)
            quantities.setdefault(column, ComparedQuantity(column, column, metric.unit if metric else "", usual=True))
    drafts = []
    for (study, _), members in groups.items():
        entries = tuple(
            BatchValues.of((f"{study} {one.data}" if one.data else "", one.seed, 0), one.values)
            for one in sorted(members, key=lambda trial: trial.seed)
        )
        drafts.append(_Draft(folder, (members[0].name, study), None, {}, entries, study))
    return drafts


def _labels(drafts: Sequence[_Draft]) -> list[str]:
    """Return one short label for each series, no two of them equal."""
    cells = _cells([draft.grid for draft in drafts])
    clients: dict[str, set[str]] = {}
    for cell, draft in zip(cells, drafts, strict=True):
        clients.setdefault(cell, set()).add(draft.names[1])
    shown = [f"{draft.names[0]}, {draft.names[1]}" for draft in drafts]
    if max(map(len, clients.values())) == 1:  # there is one client, or the cell of the sweep already says which one
        shown = [draft.names[0] for draft in drafts]
    known = [draft.knowledge for draft in drafts if draft.knowledge is not None]
    common = frozenset.intersection(*known) if known else frozenset()
    facts = [", ".join(sorted((draft.knowledge or common) - common)) for draft in drafts]
    shown = [
        ", ".join(filter(None, (name, fact and f"knowing {fact}", cell)))
        for name, fact, cell in zip(shown, facts, cells, strict=True)
    ]
    homes: dict[str, set[Path]] = {}
    for label, draft in zip(shown, drafts, strict=True):
        homes.setdefault(label, set()).add(draft.folder.path)
    names = [draft.folder.name for draft in drafts]
    if len(set(names)) < len({draft.folder.path for draft in drafts}):  # two folders of one name
        names = [str(draft.folder.path) for draft in drafts]
    shown = [f"{one} ({name})" if len(homes[one]) > 1 else one for one, name in zip(shown, names, strict=True)]
    return _numbered(shown)


def _cells(grids: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cell of every series in words: the keys that differ, by their last part if that is unambiguous."""
    keys = list(dict.fromkeys(key for grid in grids for key in grid))
    differ = [key for key in keys if len({json.dumps(grid.get(key), default=str) for grid in grids}) > 1]
    last = {key: key.rpartition(".")[2] for key in differ}
    counts = Counter(last.values())
    names = {key: key if counts[short] > 1 or short.isdigit() else short for key, short in last.items()}
    return [", ".join(f"{names[key]}={value_in_words(grid[key])}" for key in differ if key in grid) for grid in grids]


def _numbered(labels: Sequence[str]) -> list[str]:
    """Return the labels, equal ones with a number that makes them differ from all others."""
    taken = Counter(labels)
    used, result = set(labels), []
    for label in labels:
        number = 0
        name = label
        while taken[label] > 1 and (name in used or name == label):
            number += 1
            name = f"{label} #{number}"
        used.add(name)
        result.append(name)
    return result


def _missing(folder: RunFolder) -> Iterable[str]:
    """Yield what a reader must know of an unfinished folder."""
    for failure in folder.failures.values():
        yield f"{folder.name}: a trial failed and is missing here: {failure.line}"
    if folder.record is not None and folder.done < folder.record.planned:
        yield f"{folder.name}: is unfinished: {folder.done} of {folder.record.planned} cases are compared."
