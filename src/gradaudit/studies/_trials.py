"""The trials of a study: one cell with one seed, and its measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ..execution.journal import TRIALS, Journal
from ..execution.trial import TrialOutcome, attempted
from ..inversion.attack import Watch
from ..values.records import checked, content_name
from ._bench import Bench
from ._definition import Cell, Study, identity


@dataclass(frozen=True)
class Measurement:
    """The result of one trial of a study.

    Args:
        cell: Identity of the cell.
        name: Name of the cell.
        seed: Seed of the measurement.
        values: Column -> value.
        study: Name of the study.
        data: Hash of the data and the weights; measurements with the same one and the same seed can be paired.
        seconds: Computing time, if it was recorded.
    """

    cell: str
    name: str
    seed: int
    values: Mapping[str, float | None]
    study: str = ""
    data: str = ""
    seconds: float = 0.0

    @classmethod
    def from_json(cls, record: Any) -> Measurement:
        """Return the measurement of a line. Raise `ValueError` that names the first entry of a wrong type."""
        found = checked(cls, record)
        if not all(value is None or math.isfinite(value) for value in found.values.values()):
            raise ValueError("values: must be finite numbers")
        return found


@dataclass(frozen=True)
class StudyJob:
    """One cell of a study with one seed, or all cells of a seed that share results.

    Args:
        study: Name of the study.
        cells: The cells.
        seed: The seed.
        data: Hash of the data and the weights.
        checkpoint: Name of its checkpoints.
    """

    study: str
    cells: tuple[Cell, ...]
    seed: int
    data: str
    checkpoint: str

    setting: ClassVar[int] = 0

    @property
    def trials(self) -> tuple[str, ...]:
        """Names of the trials."""
        return tuple(trial_of(cell, self.seed, self.data) for cell in self.cells)

    @property
    def title(self) -> str:
        """The cell and the seed in words."""
        return f"{self.cells[0].name} · seed {self.seed}"

    def left(self, done: Container[str]) -> StudyJob | None:
        """Return the job without the cells that are done; its checkpoints keep their name."""
        cells = tuple(cell for cell, trial in zip(self.cells, self.trials, strict=True) if trial not in done)
        return replace(self, cells=cells) if cells else None

    def run(self, bench: Bench, watch: Watch | None, keep: Path | None) -> Iterator[TrialOutcome]:
        """Measure the cells, and yield their results."""
        for cell, trial in zip(self.cells, self.trials, strict=True):
            with bench.measuring(watch, keep):
                yield attempted(trial, f"{cell.name} · seed {self.seed}", partial(self._measure, bench, cell))

    def _measure(self, bench: Bench, cell: Cell) -> tuple[dict[str, Any], dict[str, bytes]]:
        started = time.perf_counter()
        values = {column: _plain(value) for column, value in cell.measure(bench, self.seed).items()}
        facts = {"study": self.study, "cell": identity(cell), "name": cell.name, "seed": self.seed, "data": self.data}
        return {**facts, "values": values, "seconds": time.perf_counter() - started}, bench.files


class StudyFolder:
    """The folder of a study with its journal.

    Args:
        folder: The folder.
        data: Hash of the data and the weights.
    """

    def __init__(self, folder: Path, data: str) -> None:
        self.folder = folder

        def name(line: Measurement) -> str:
            return content_name(line.cell, line.seed, line.data or data)

        self.journal = Journal(folder / TRIALS, Measurement.from_json, name)


def trial_of(cell: Cell, seed: int, data: str) -> str:
    """Return the name of the trial of a cell with a seed on some data."""
    return content_name(identity(cell), seed, data)


def jobs_of(study: Study, cells: Sequence[Cell], seeds: int, data: str) -> list[StudyJob]:
    """Return all measurements, seed by seed; cells with the same true value of `shares` are one job."""
    kinds = [getattr(cell, "shares", False) for cell in cells]
    groups = [(cell,) for cell, kind in zip(cells, kinds, strict=True) if not kind]
    for shared in dict.fromkeys(filter(None, kinds)):
        groups.append(tuple(cell for cell, kind in zip(cells, kinds, strict=True) if kind == shared))
    jobs = []
    for seed in range(seeds):
        for group in groups:
            jobs.append(StudyJob(study.name, group, seed, data, trial_of(group[0], seed, data)))
    return jobs


def _plain(value: float | None) -> float | None:
    """Return a finite number, or `None`."""
    return float(value) if value is not None and math.isfinite(value) else None
