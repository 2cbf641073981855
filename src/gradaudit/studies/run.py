"""Running a study: cell by cell, one JSON line per measurement, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import AuditError
from ..execution.results import append_line, difference, read_lines
from ..files import write_whole
from ..metrics import Interval, mean_interval
from .base import Cell, Comparison, Study, Values, identity
from .bench import Bench
from .workers import cores, side_by_side

RESULTS, BENCH = "study.jsonl", "bench.json"
PICTURES = "pictures"
Tick = Callable[[int, int, str], None]
"""Told (measurements done, of how many, name of the cell)."""


@dataclass(frozen=True)
class StudyResult:
    """What a study measured so far.

    Args:
        study: The study.
        scale: Which of its sizes.
        values: Cell name -> column -> one value per measurement.
        left_out: Cell name -> why it could not be measured.
        by_seed: Cell name -> seed -> column -> value.
        planned: Measurements of the whole run.
        done: Measurements made.
    """

    study: Study
    scale: str
    values: Mapping[str, Mapping[str, tuple[float, ...]]]
    left_out: Mapping[str, str]
    by_seed: Mapping[str, Mapping[int, Values]]
    planned: int
    done: int

    def interval(self, cell: str, column: str) -> Interval | None:
        """Mean with its 95 % interval, `None` where nothing was measured."""
        found = self.values.get(cell, {}).get(column, ())
        return mean_interval(found) if found else None

    def reported(self, cell: str, column: str) -> float | None:
        """The published figure."""
        return self.study.reported.get(cell, {}).get(column)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The claims about cells that this scale has."""
        names = {cell.name for cell in self.study.cells[self.scale]}
        return tuple(one for one in self.study.comparisons if {one.better, one.worse} <= names)

    def difference(self, comparison: Comparison) -> Interval | None:
        """How far the cell that should be ahead is ahead, over the seeds that both have; positive confirms."""
        better, worse = (self.by_seed.get(cell, {}) for cell in (comparison.better, comparison.worse))
        sign = -1 if comparison.smaller else 1
        pairs = [
            (better[seed].get(comparison.column), worse[seed].get(comparison.column))
            for seed in sorted(better.keys() & worse.keys())
        ]
        gaps = [sign * (ahead - behind) for ahead, behind in pairs if ahead is not None and behind is not None]
        return mean_interval(gaps) if gaps else None

    def to_json(self) -> dict[str, Any]:
        """Every cell with the mean, bounds, number and published figure of each column."""
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
    """Make every measurement that `folder` does not hold yet, each on disk before the next.

    Args:
        study: The study.
        scale: Which of its sizes.
        bench: What it measures with.
        folder: For its results.
        tick: Told of the progress.
        workers: Processes, each with some of the seeds; `None` takes one for each core, or one on a GPU.

    Raises:
        AuditError: The study has no such scale, nothing of it can be measured here, `folder` is of other data or
            weights, or a measurement fails.
    """
    if scale not in study.cells:
        raise AuditError(f"--scale {scale}: {study.name} has {', '.join(study.scales)}.")
    asked = [(cell, cell.missing(bench)) for cell in study.cells[scale]]
    if all(why for _, why in asked):
        reasons = "; ".join(dict.fromkeys(why for _, why in asked if why))
        raise AuditError(f"study {study.name}: nothing of it can be measured: {reasons}.")
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, bench)
    bench.unfinished, bench.pictures = folder / "unfinished", folder / PICTURES
    lines = read_lines(folder / RESULTS, mend=True)
    done = {(line["cell"], line["seed"]) for line in lines}
    tasks = [(cell, seed) for cell, why in asked if not why for seed in range(study.repeats[scale])]
    open_tasks = [(cell, seed) for cell, seed in tasks if (identity(cell), seed) not in done]
    measure, finished = partial(_measure, study.name, bench, folder), len(tasks) - len(open_tasks)

    def look() -> None:
        new = read_lines(folder / RESULTS)[len(lines) :]
        tick(finished + len(new), len(tasks), new[-1]["name"] if new else "")

    workers = workers or (cores() if bench.device.type == "cpu" else 1)
    if workers > 1 and len({seed for _, seed in open_tasks}) > 1:
        side_by_side(open_tasks, measure, workers, look)
    else:
        for number, (cell, seed) in enumerate(open_tasks, finished):
            tick(number, len(tasks), cell.name)
            measure(cell, seed)
    if bench.unfinished.is_dir() and not any(bench.unfinished.iterdir()):
        bench.unfinished.rmdir()
    tick(len(tasks), len(tasks), "")


def _measure(name: str, bench: Bench, folder: Path, cell: Cell, seed: int) -> None:
    """One measurement, onto the disk."""
    started = time.perf_counter()
    values = cell.measure(bench, seed)
    line = {"study": name, "cell": identity(cell), "name": cell.name, "seed": seed, "values": dict(values)}
    append_line(folder / RESULTS, {**line, "seconds": time.perf_counter() - started})


def _claim(folder: Path, bench: Bench) -> None:
    """Write down what the folder's measurements are of, or refuse a folder whose are of something else."""
    path, now = folder / BENCH, bench.identity()
    if path.exists():
        changed = difference(json.loads(path.read_text(encoding="utf-8")), now)
        if changed:
            raise AuditError(
                f"--out {folder}: holds measurements of something else: {changed}. Take another folder, or delete it."
            )
    write_whole(path, json.dumps(now, indent=1))


def read_study(study: Study, scale: str, bench: Bench, folder: Path) -> StudyResult:
    """What `folder` holds of a study."""
    lines = read_lines(folder / RESULTS)
    values: dict[str, dict[str, list[float]]] = {}
    left_out = {cell.name: why for cell in study.cells[scale] if (why := cell.missing(bench))}
    by_seed: dict[str, dict[int, Values]] = {}
    count = 0
    for cell in study.cells[scale]:
        for line in lines:
            if line["cell"] == identity(cell) and line["seed"] < study.repeats[scale]:
                count += 1
                _add(values.setdefault(cell.name, {}), line["values"])
                by_seed.setdefault(cell.name, {})[line["seed"]] = line["values"]
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
