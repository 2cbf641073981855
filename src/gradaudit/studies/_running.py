"""Running a study: cell by cell, one JSON line per measurement, resumable."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..execution.lock import locked
from ..execution.results import difference, read_json, read_lines
from ..execution.serial import UNFINISHED
from ..inversion.run import keeper
from ..metrics import Interval, mean_interval
from ..values.errors import AuditError
from ..values.files import append_line, make_folder, write_whole
from ..values.records import checked
from ._bench import Bench
from ._definition import Cell, Comparison, Study, Values, identity
from ._workers import MeasureCell, cores, side_by_side

RESULTS, BENCH = "study.jsonl", "bench.json"
PICTURES = "pictures"
Tick = Callable[[int, int, str], None]
"""Called with (number of finished measurements, total number, name of the cell)."""


@dataclass(frozen=True)
class Measurement:
    """One line of the results of a study.

    Args:
        cell: Identity of the cell.
        name: Name of the cell.
        seed: Seed of the measurement.
        values: Column -> value.
    """

    cell: str
    name: str
    seed: int
    values: Mapping[str, float | None]

    @classmethod
    def from_json(cls, record: Any) -> Measurement:
        """Return the measurement of a line. Raise `ValueError` that names the first entry of a wrong type."""
        found = checked(cls, record)
        if not all(value is None or math.isfinite(value) for value in found.values.values()):
            raise ValueError("values: must be finite numbers")
        return found

    @property
    def key(self) -> tuple[str, int]:
        """The key that occurs once per file."""
        return self.cell, self.seed


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
    """

    study: Study
    scale: str
    values: Mapping[str, Mapping[str, tuple[float, ...]]]
    left_out: Mapping[str, str]
    by_seed: Mapping[str, Mapping[int, Values]]
    planned: int
    done: int

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
        return tuple(one for one in self.study.comparisons if {one.better, one.worse} <= names)

    def difference(self, comparison: Comparison) -> Interval | None:
        """Return the paired difference of the two cells over their common seeds; a positive one confirms the claim."""
        better, worse = (self.by_seed.get(cell, {}) for cell in (comparison.better, comparison.worse))
        sign = -1 if comparison.smaller else 1
        pairs = [
            (better[seed].get(comparison.column), worse[seed].get(comparison.column))
            for seed in sorted(better.keys() & worse.keys())
        ]
        gaps = [sign * (ahead - behind) for ahead, behind in pairs if ahead is not None and behind is not None]
        return mean_interval(gaps) if gaps else None

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
            {"claim": one.claim, "column": one.column, "difference": _bounds(self.difference(one))}
            for one in self.comparisons
        ]
        return {
            "study": self.study.name,
            "scale": self.scale,
            "done": self.done,
            "planned": self.planned,
            "cells": cells,
            "comparisons": comparisons,
        }


def run_study(study: Study, scale: str, bench: Bench, folder: Path, tick: Tick, *, workers: int | None = 1) -> None:
    """Run every measurement that is missing in `folder`; each is written to disk before the next starts.

    Args:
        study: The study.
        scale: One of its scales.
        bench: Data and networks.
        folder: Folder of the results.
        tick: Called with the progress.
        workers: Number of processes, each with some of the seeds; `None` uses one per core, or one on a GPU.

    Raises:
        AuditError: The scale is unknown, no cell can be measured with this data, `folder` belongs to other data or
            weights, or a measurement fails.
    """
    if scale not in study.cells:
        raise AuditError(f"--scale {scale}: {study.name} has {', '.join(study.scales)}.")
    asked = [(cell, cell.missing(bench)) for cell in study.cells[scale]]
    if all(why for _, why in asked):
        reasons = "; ".join(dict.fromkeys(why for _, why in asked if why))
        raise AuditError(f"study {study.name}: no cell can be measured: {reasons}.")
    make_folder(folder, option="--out")
    with locked(folder):
        _claim(folder, bench)
        bench.unfinished, bench.pictures = folder / UNFINISHED, folder / PICTURES
        tasks = [(cell, seed) for cell, why in asked if not why for seed in range(study.repeats[scale])]
        _measure_open(tasks, partial(_measure, study.name, bench, folder), folder, tick, workers or _usual(bench))
        keeper.clear(bench.unfinished)


def _usual(bench: Bench) -> int:
    """Return the default number of processes."""
    return cores() if bench.device.type == "cpu" else 1


def _measure_open(
    tasks: Sequence[tuple[Cell, int]], measure: MeasureCell, folder: Path, tick: Tick, workers: int
) -> None:
    """Run the measurements that are missing in the folder."""
    lines = _lines(folder, mend=True)
    done = {line.key for line in lines}
    open_tasks = [(cell, seed) for cell, seed in tasks if (identity(cell), seed) not in done]
    finished = len(tasks) - len(open_tasks)
    tick(finished, len(tasks), "")

    def look() -> None:
        with warnings.catch_warnings(action="ignore"):  # a line may be half-written at this moment
            new = _lines(folder)[len(lines) :]
        tick(finished + len(new), len(tasks), new[-1].name if new else "")

    if workers > 1 and len({seed for _, seed in open_tasks}) > 1:
        side_by_side(open_tasks, measure, workers, look)
    else:
        for number, (cell, seed) in enumerate(open_tasks, finished):
            tick(number, len(tasks), cell.name)
            measure(cell, seed)
    tick(len(tasks), len(tasks), "")


def _measure(name: str, bench: Bench, folder: Path, cell: Cell, seed: int) -> None:
    """Run one measurement, write it to disk, and then delete its checkpoints."""
    started = time.perf_counter()
    values = {column: _plain(value) for column, value in cell.measure(bench, seed).items()}
    line = {"study": name, "cell": identity(cell), "name": cell.name, "seed": seed, "values": values}
    append_line(folder / RESULTS, {**line, "seconds": time.perf_counter() - started})
    bench.forget()


def _plain(value: float | None) -> float | None:
    """Return a finite number, or `None`."""
    return value if value is not None and math.isfinite(value) else None


def _lines(folder: Path, *, mend: bool = False) -> list[Measurement]:
    return read_lines(folder / RESULTS, Measurement.from_json, lambda line: line.key, mend=mend)


def _claim(folder: Path, bench: Bench) -> None:
    """Record the data and weights of the folder. Raise `AuditError` if it belongs to others."""
    path, now = folder / BENCH, bench.identity()
    before = read_json(path, partial(checked, dict[str, str]))
    if before is not None and (changed := difference(before, now)):
        raise AuditError(
            f"--out {folder}: contains measurements of something else: {changed}. Choose another folder, or delete it."
        )
    write_whole(path, json.dumps(now, indent=1))


def read_study(study: Study, scale: str, bench: Bench, folder: Path) -> StudyResult:
    """Return the results of a study in `folder`."""
    lines = _lines(folder)
    values: dict[str, dict[str, list[float]]] = {}
    left_out = {cell.name: why for cell in study.cells[scale] if (why := cell.missing(bench))}
    by_seed: dict[str, dict[int, Values]] = {}
    count = 0
    for cell in study.cells[scale]:
        for line in lines:
            if line.cell == identity(cell) and line.seed < study.repeats[scale]:
                count += 1
                _add(values.setdefault(cell.name, {}), line.values)
                by_seed.setdefault(cell.name, {})[line.seed] = line.values
    planned = (len(study.cells[scale]) - len(left_out)) * study.repeats[scale]
    frozen = {cell: {column: tuple(found) for column, found in columns.items()} for cell, columns in values.items()}
    return StudyResult(study, scale, frozen, left_out, by_seed, planned, count)


def _add(columns: dict[str, list[float]], values: Values) -> None:
    for column, value in values.items():
        if value is not None:
            columns.setdefault(column, []).append(value)


def _bounds(found: Interval | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = (None if bound != bound else bound for bound in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}
