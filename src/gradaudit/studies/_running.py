"""Running a study: cell by cell and seed by seed, resumable, and reading its results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from ..execution.executors import Executor
from ..execution.executors.serial import Serial
from ..execution.journal import TRIALS
from ..execution.lock import locked
from ..execution.results import difference, read_json
from ..execution.runner import Listener, require_complete, run_trials
from ..metrics import Interval, mean_interval
from ..values.errors import AuditError
from ..values.files import is_file, make_folder, refused, write_whole
from ..values.records import checked
from ._bench import Bench
from ._definition import Comparison, Correlation, Study, Values, identity
from ._trials import Measurement, StudyFolder, jobs_of, trial_of

BENCH = "bench.json"
LEAKAGE = ("gain", "psnr", "ssim", "lpips")  # columns that say how close an image is
EARLIER = "study.jsonl"  # the journal of release 0.2 and earlier


@dataclass(frozen=True)
class StudyResult:
    """The results of a study so far.

    Args:
        study: The study.
        scale: One of its scales.
        values: Cell name -> column -> one value per measurement.
        left_out: Cell name -> reason why it could not be measured.
        by_seed: Cell name -> seed -> column -> value.
        planned: Number of measurements of the whole run.
        done: Number of finished measurements.
        failures: One line for each measurement that failed.
        seconds: Computing time of the finished measurements.
    """

    study: Study
    scale: str
    values: Mapping[str, Mapping[str, tuple[float, ...]]]
    left_out: Mapping[str, str]
    by_seed: Mapping[str, Mapping[int, Values]]
    planned: int
    done: int
    failures: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)  # the same measurements may take longer

    def interval(self, cell: str, column: str) -> Interval | None:
        """Return the mean with its 95 % interval, or `None` if nothing was measured."""
        found = self.values.get(cell, {}).get(column, ())
        return mean_interval(found) if found else None

    def reported(self, cell: str, column: str) -> float | None:
        """Return the published value, or `None`."""
        return self.study.reported.get(cell, {}).get(column)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The claims about cells of this scale."""
        names = {cell.name for cell in self.study.cells[self.scale]}
        return tuple(one for one in self.study.comparisons if names.issuperset(one.cells))

    def difference(self, comparison: Comparison) -> Interval | None:
        """Return the paired difference of the two cells over their common seeds; a positive one confirms the claim.

        A claim about one cell gives the difference from its mark.
        """
        ours, *others = (self.by_seed.get(cell, {}) for cell in comparison.cells)
        seeds, sign = sorted(ours.keys() & (others[0] if others else ours).keys()), -1 if comparison.smaller else 1
        column = comparison.column
        pairs = [(ours[seed].get(column), others[0][seed].get(column) if others else comparison.mark) for seed in seeds]
        gaps = [sign * (ahead - behind) for ahead, behind in pairs if ahead is not None and behind is not None]
        return mean_interval(gaps) if gaps else None

    def no_leak_shown(self, comparison: Comparison) -> bool:
        """Return whether a claim compares how much leaks in two cells of which neither gains on the mean image.

        Of both, the interval of the gain must have been measured and must not lie above zero.
        """
        if comparison.mark is not None or comparison.column not in LEAKAGE:
            return False
        gains = [self.interval(cell, "gain") for cell in comparison.cells]
        return all(gain is not None and gain.n > 1 and gain.low <= 0 for gain in gains)

    @property
    def correlations(self) -> tuple[Correlation, ...]:
        """The rank correlations over cells of this scale."""
        names = {cell.name for cell in self.study.cells[self.scale]}
        return tuple(one for one in self.study.correlations if not one.cells or names.intersection(one.cells))

    def correlation(self, asked: Correlation) -> tuple[float, float, int] | None:
        """Return Spearman's rank correlation with its p-value and the number of measurements, from three on.

        It is `None` if there are fewer, or if a column is constant.
        """
        names = asked.cells or tuple(cell.name for cell in self.study.cells[self.scale])
        lines = [values for name in names for values in self.by_seed.get(name, {}).values()]
        pairs = [(line.get(asked.first), line.get(asked.second)) for line in lines]
        known = [(one, other) for one, other in pairs if one is not None and other is not None]
        if len(known) < 3 or any(len(set(column)) == 1 for column in zip(*known, strict=True)):
            return None
        found = spearmanr(*zip(*known, strict=True))
        return float(found.statistic), float(found.pvalue), len(known)

    def to_json(self) -> dict[str, Any]:
        """Return every cell with mean, bounds, number of measurements and published value of each column."""
        cells = []
        for cell in self.study.cells[self.scale]:
            columns = {}
            for column, values in self.values.get(cell.name, {}).items():
                reported = self.reported(cell.name, column)
                columns[column] = {**(_bounds(mean_interval(values)) or {}), "reported": reported}
            cells.append(
                {"cell": cell.name, "value": repr(cell), "columns": columns, "left_out": self.left_out.get(cell.name)}
            )
        comparisons = [
            {
                "claim": one.claim,
                "column": one.column,
                "difference": _bounds(self.difference(one)),
                "no_leak_shown": self.no_leak_shown(one),
            }
            for one in self.comparisons
        ]
        correlations = [(one.label, self.correlation(one)) for one in self.correlations]
        return {
            "study": self.study.name,
            "scale": self.scale,
            "done": self.done,
            "planned": self.planned,
            "failures": list(self.failures),
            "cells": cells,
            "comparisons": comparisons,
            "correlations": [
                {"label": label, **({"rho": found[0], "p": found[1], "n": found[2]} if found else {})}
                for label, found in correlations
            ],
            "seconds": self.seconds,
        }


def run_study(
    study: Study,
    scale: str,
    bench: Bench,
    folder: Path,
    listener: Listener[Measurement] | None = None,
    *,
    executor: Executor | None = None,
    stop_on_error: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Run every measurement that is missing in `folder`; each is written to disk before it counts.

    Args:
        study: The study.
        scale: One of its scales.
        bench: Data and networks.
        folder: Folder of the results.
        listener: Called with the progress.
        executor: Where the measurements are computed; one after another in this process by default.
        stop_on_error: Whether the first measurement that fails stops the study.
        shard: `(k, n)` runs the k-th of n parts.

    Raises:
        AuditError: The scale is unknown, no cell can be measured with this data, `folder` belongs to other data or
            weights, or measurements fail, after the rest is done.
    """
    if scale not in study.cells:
        raise AuditError(f"--scale {scale}: {study.name} has {', '.join(study.scales)}.")
    asked = [(cell, cell.missing(bench)) for cell in study.cells[scale]]
    if all(why for _, why in asked):
        reasons = "; ".join(dict.fromkeys(why for _, why in asked if why))
        raise AuditError(f"study {study.name}: no cell can be measured: {reasons}.")
    cells, seeds = [cell for cell, why in asked if not why], study.repeats[scale]
    make_folder(folder, option="--out")
    with locked(folder):
        _claim(folder, bench)
        store = StudyFolder(folder, bench.fingerprint)
        store.journal.read(mend=True)
        jobs, told = jobs_of(study, cells, seeds, bench.fingerprint), listener or Listener()
        run_trials([bench], jobs, store, executor or Serial(), told, shard=shard, stop_on_error=stop_on_error)
        require_complete([failure.line for failure in store.journal.failures.values()], len(cells) * seeds)


def _claim(folder: Path, bench: Bench) -> None:
    """Record the data and weights of the folder. Raise `AuditError` if it belongs to others."""
    path, now = folder / BENCH, bench.identity()
    before = read_json(path, partial(checked, dict[str, str]))
    if before is not None and "redacted" in before:
        raise AuditError(
            f"--out {folder}: is a redacted copy of a study, which cannot be resumed. Choose another folder."
        )
    if before is not None and (changed := difference(before, now)):
        raise AuditError(
            f"--out {folder}: contains measurements of something else: {changed}. Choose another folder, or delete it."
        )
    write_whole(path, json.dumps(now, indent=1))
    if is_file(folder / EARLIER) and not is_file(folder / TRIALS):
        with refused(folder / EARLIER, what="renamed"):
            os.replace(folder / EARLIER, folder / TRIALS)


def read_study(study: Study, scale: str, bench: Bench, folder: Path) -> StudyResult:
    """Return the results of a study in `folder`."""
    journal = StudyFolder(folder, bench.fingerprint).journal
    journal.read()
    cells, seeds = study.cells[scale], range(study.repeats[scale])
    left_out = {cell.name: why for cell in cells if (why := cell.missing(bench))}
    trials = {trial_of(cell, seed, bench.fingerprint) for cell in cells for seed in seeds}
    failures = tuple(failure.line for trial, failure in journal.failures.items() if trial in trials)
    names = {identity(cell): cell.name for cell in cells}
    found = [(names[line.cell], line) for line in journal.results.values() if line.cell in names]
    return _gathered(study, scale, found, left_out, failures)


def read_stored(study: Study, scale: str, folder: Path) -> tuple[StudyResult, tuple[str, ...]]:
    """Return the results that `folder` holds, whatever data they were measured on, by the names of their cells.

    Returns:
        The results, and the names of the cells whose definition has changed since they were measured.
    """
    journal = StudyFolder(folder, "").journal
    journal.read()
    cells = {cell.name: cell for cell in study.cells[scale]}
    found = [(line.name, line) for line in journal.results.values() if line.name in cells]
    changed = dict.fromkeys(name for name, line in found if line.cell != identity(cells[name]))
    return _gathered(study, scale, found, {}, ()), tuple(changed)


def _gathered(
    study: Study,
    scale: str,
    found: Sequence[tuple[str, Measurement]],
    left_out: Mapping[str, str],
    failures: tuple[str, ...],
) -> StudyResult:
    """Return the result of lines with the names of their cells."""
    by_seed: dict[str, dict[int, Values]] = {}
    count, seconds = 0, 0.0
    for name, line in sorted(found, key=lambda one: one[1].seed):  # whatever order they were computed in
        if line.seed < study.repeats[scale]:
            count += 1
            seconds += line.seconds
            by_seed.setdefault(name, {})[line.seed] = line.values
    values = {cell.name: _columns(by_seed[cell.name]) for cell in study.cells[scale] if cell.name in by_seed}
    planned = (len(study.cells[scale]) - len(left_out)) * study.repeats[scale]
    return StudyResult(study, scale, values, left_out, by_seed, planned, count, failures, seconds)


def _columns(by_seed: Mapping[int, Values]) -> dict[str, tuple[float, ...]]:
    """Return each column with its values, in the order of the seeds."""
    columns: dict[str, list[float]] = {}
    for values in by_seed.values():
        for column, value in values.items():
            if value is not None:
                columns.setdefault(column, []).append(value)
    return {column: tuple(found) for column, found in columns.items()}


def _bounds(found: Interval | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = (None if bound != bound else bound for bound in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}
