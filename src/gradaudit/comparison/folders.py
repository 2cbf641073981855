"""Reading the folder of an audit, a sweep or a study, without writing to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..execution.journal import TRIALS, Failure, Journal
from ..execution.results import RESULTS, RUN, in_order, read_json
from ..values.errors import AuditError
from ..values.files import is_file
from ..values.finding import Finding, RunRecord
from ..values.records import checked

BENCH = "bench.json"


@dataclass(frozen=True)
class StudyTrial:
    """One measurement of a study.

    Args:
        study: Name of the study.
        cell: Hash of the cell.
        name: Name of the cell.
        seed: Seed of the measurement.
        values: Column -> value, or `None` if it does not apply.
        data: Fingerprint of the data and the weights.
        line: The result as it was read, with further entries.
    """

    study: str
    cell: str
    name: str
    seed: int
    values: Mapping[str, float | None]
    data: str = ""
    line: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_json(cls, record: Any) -> StudyTrial:
        """Return the measurement of a line. Raise `ValueError` that names the first entry of a wrong type."""
        found = checked(cls, {**record, "line": record} if isinstance(record, dict) else record)
        if not all(value is None or math.isfinite(value) for value in found.values.values()):
            raise ValueError("values: must be finite numbers")
        return found


@dataclass(frozen=True)
class RunFolder:
    """What the folder of a run or a study holds.

    Args:
        path: The folder.
        kind: `audit`, `sweep` or `study`.
        record: The record of an audit or a sweep.
        bench: Of a study, what its data and weights are.
        findings: Trial -> finding of an audit or a sweep, in the order of clients, batches and attacks.
        trials: Trial -> measurement of a study.
        failures: Trial -> why it failed, for trials without a result.
    """

    path: Path
    kind: str
    record: RunRecord | None = None
    bench: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[str, Finding] = field(default_factory=dict)
    trials: Mapping[str, StudyTrial] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name or self.path.resolve().name or str(self.path)

    @property
    def done(self) -> int:
        """Number of trials that have a result."""
        return len(self.findings) + len(self.trials)


def open_folder(path: Path) -> RunFolder:
    """Return what a folder holds. Unusable lines are skipped with a warning, and nothing is written.

    Args:
        path: Folder of an audit, a demo, a sweep or a study.

    Raises:
        AuditError: The folder is missing or not that of a run, or a file cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise AuditError(f"{path}: there is no such folder. Give the output folder of an audit, a sweep or a study.")
    record = read_json(path / RUN, RunRecord.from_json)
    bench = read_json(path / BENCH, partial(checked, dict[str, str]))
    if record is not None and bench is not None:
        raise AuditError(f"{path}: holds both {RUN} and {BENCH}. Move one of the two runs to a folder of its own.")
    if record is not None:
        return _of_findings(path, record)
    if bench is None:
        raise AuditError(
            f"{path}: holds neither {RUN} nor {BENCH}, so it is no run. Give the output folder of an audit, a sweep or "
            "a study."
        )
    journal = Journal(path / TRIALS, StudyTrial.from_json)
    journal.read()
    return RunFolder(path, "study", bench=bench, trials=journal.results, failures=_open(journal))


def _of_findings(path: Path, record: RunRecord) -> RunFolder:
    journal = Journal(path / (TRIALS if is_file(path / TRIALS) else RESULTS), Finding.from_json)
    journal.read()
    names = {id(finding): trial for trial, finding in journal.results.items()}
    findings = {names[id(finding)]: finding for finding in in_order(journal.results.values())}
    return RunFolder(path, record.kind, record, findings=findings, failures=_open(journal))


def _open(journal: Journal[Any]) -> dict[str, Failure]:
    """Return the failed trials that have no result."""
    return {trial: failure for trial, failure in journal.failures.items() if trial not in journal.results}
