"""Reading the folder of an audit, a sweep or a study, without writing to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..execution.journal import TRIALS, Failure, Journal
from ..execution.results import RESULTS, RUN, in_order, read_json
from ..studies._running import BENCH, EARLIER
from ..studies._trials import Measurement
from ..values.errors import AuditError
from ..values.files import is_file
from ..values.finding import Finding, RunRecord
from ..values.records import checked, content_name


@dataclass(frozen=True)
class StudyTrial(Measurement):
    """One measurement of a study, with the result as it was read.

    Args:
        cell: As of `Measurement`.
        name: As of `Measurement`.
        seed: As of `Measurement`.
        values: As of `Measurement`.
        study: As of `Measurement`.
        data: As of `Measurement`.
        line: The result as it was read, with further entries.
    """

    line: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_json(cls, record: Any) -> StudyTrial:
        """Return the measurement of a line. Raise `ValueError` that names the first entry of a wrong type."""
        found = Measurement.from_json(record)
        return cls(**{entry.name: getattr(found, entry.name) for entry in fields(found)}, line=record)


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
    def redacted(self) -> bool:
        """Whether it is a redacted copy, which holds figures only."""
        return bool(self.record and self.record.redacted) or "redacted" in self.bench

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
    journal = study_journal(path / (TRIALS if is_file(path / TRIALS) else EARLIER), bench)
    journal.read()
    return RunFolder(path, "study", bench=bench, trials=journal.results, failures=_open(journal))


def study_journal(path: Path, bench: Mapping[str, str]) -> Journal[StudyTrial]:
    """Return the journal of a study on some data and weights; lines of earlier releases are given both."""
    data = content_name(dict(bench))

    def convert(record: Any) -> StudyTrial:
        found = StudyTrial.from_json(record)
        return found if found.data else replace(found, data=data, line={**found.line, "data": data})

    return Journal(path, convert, lambda line: content_name(line.cell, line.seed, line.data))


def _of_findings(path: Path, record: RunRecord) -> RunFolder:
    journal = Journal(path / (TRIALS if is_file(path / TRIALS) else RESULTS), Finding.from_json, _trial)
    journal.read()
    names = {id(finding): trial for trial, finding in journal.results.items()}
    findings = {names[id(finding)]: finding for finding in in_order(journal.results.values())}
    return RunFolder(path, record.kind, record, findings=findings, failures=_open(journal))


def _trial(finding: Finding) -> str:
    return finding.trial or finding.case


def _open(journal: Journal[Any]) -> dict[str, Failure]:
    """Return the failed trials that have no result."""
    return {trial: failure for trial, failure in journal.failures.items() if trial not in journal.results}
