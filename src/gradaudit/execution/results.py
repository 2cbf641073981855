"""The findings of a run on disk: a journal of its trials, from which the run resumes and its files are derived."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..values.characters import shortened
from ..values.errors import AuditError
from ..values.federation_result import FederationResult
from ..values.files import is_file, make_folder, read_whole, write_whole
from ..values.finding import Finding, RunRecord
from ..values.records import parsed
from .journal import TRIALS, Failure, Journal, Record
from .lock import locked

RUN, RESULTS, FEDERATION = "run.json", "results.jsonl", "federation.jsonl"


class Results:
    """The findings of one run in one folder.

    Args:
        folder: The folder; created if it is missing.
        run: The record of the run; a folder that contains another run is refused.

    Raises:
        AuditError: The folder belongs to another configuration (the message names the difference), another process
            writes to it, or it cannot be used.
    """

    def __init__(self, folder: Path, run: RunRecord) -> None:
        self.folder, self._run = folder, run
        self.journal = Journal(folder / TRIALS, Finding.from_json, _name)
        self.federation = _trainings_in(folder)
        make_folder(folder, option="--out")
        with locked(folder):
            self._resume()
            write_whole(folder / RUN, json.dumps(asdict(run), indent=1, default=str))

    @property
    def findings(self) -> list[Finding]:
        """The findings so far, client by client, batch by batch, attack by attack."""
        return in_order(self.journal.results.values())

    @property
    def done(self) -> Collection[str]:
        """Names of the trials that are finished."""
        return self.journal.results.keys()

    @property
    def run(self) -> RunRecord:
        """The record of the run, with the trials that failed."""
        return replace(self._run, failures=_lines(self.journal, self.federation))

    def append(self, finding: Finding) -> None:
        """Write one finding to the disk, where it survives an interruption or an error of a later case."""
        self.journal.append(_name(finding), finding.to_json())

    def fail(self, failure: Failure) -> None:
        """Write down that a trial failed."""
        self.journal.fail(failure)

    def refresh(self) -> None:
        """Read the journal of the folder again: another process may have added lines before this one locked it."""
        self.journal.read(mend=True)
        self.federation.read(mend=True)

    def export(self) -> None:
        """Write `results.jsonl`, one line for each finding in order; it is derived from the journal."""
        lines = (json.dumps(finding.to_json(), allow_nan=False) + "\n" for finding in self.findings)
        write_whole(self.folder / RESULTS, "".join(lines))

    def _resume(self) -> None:
        before = _run_of(self.folder)
        if before is None:
            if read_whole(self.folder / TRIALS):
                raise AuditError(f"--out {self.folder}: contains {TRIALS} without {RUN}. Choose another folder.")
            return
        if before.redacted:
            raise AuditError(
                f"--out {self.folder}: is a redacted copy of a run, which cannot be resumed. Choose another folder."
            )
        changed = difference(before.identity, json.loads(json.dumps(self._run.identity, default=str)))
        if changed:
            raise AuditError(
                f"--out {self.folder}: holds results of another configuration: {changed}. "
                "Choose another folder, or delete it."
            )
        self.refresh()


def read_folder(folder: Path) -> tuple[list[Finding], RunRecord]:
    """Return the findings in `folder` in order, and the record of the run with the trials that failed.

    Unusable lines are skipped with a warning. The folder of release 0.2 and earlier, which has no journal, is read too.

    Raises:
        AuditError: The folder is not that of a run, or a file cannot be read.
    """
    found = _run_of(folder)
    if found is None:
        raise AuditError(f"{folder}: contains no {RUN}, so it is not the folder of a run.")
    journal = Journal(folder / (TRIALS if is_file(folder / TRIALS) else RESULTS), Finding.from_json, _name)
    trained = _trainings_in(folder)
    journal.read()
    trained.read()
    return in_order(journal.results.values()), replace(found, failures=_lines(journal, trained))


def read_trainings(folder: Path, run: RunRecord) -> list[FederationResult]:
    """Return the finished trainings of the federation of a run, in its order; errors as of `read_folder`."""
    if not run.trainings:
        return []
    journal = _trainings_in(folder)
    journal.read()
    return [journal.results[trial] for trial in run.trainings if trial in journal.results]


def read_json(path: Path, convert: Callable[[Any], Record]) -> Record | None:
    """Return the result of `convert` for the contents of a JSON file, or `None` if there is no file.

    Args:
        path: Path of the file.
        convert: Converts the parsed contents; raises `ValueError` if they do not fit.

    Raises:
        AuditError: The file cannot be read, or its contents do not fit.
    """
    raw = read_whole(path)
    try:
        return None if raw is None else convert(parsed(raw))
    except ValueError as error:
        raise AuditError(f"{path}: is damaged: {error}. Restore it, or choose another folder.") from error


def in_order(findings: Collection[Finding]) -> list[Finding]:
    """Return findings in the order of their clients, batches and attacks, whatever order they were computed in."""
    return sorted(findings, key=_place)


def _trainings_in(folder: Path) -> Journal[FederationResult]:
    return Journal(folder / FEDERATION, FederationResult.from_json, lambda found: found.trial)


def _lines(*journals: Journal[Any]) -> tuple[str, ...]:
    """Return one line for each trial that failed."""
    return tuple(failure.line for journal in journals for failure in journal.failures.values())


def _name(finding: Finding) -> str:
    return finding.trial or finding.case


def _place(finding: Finding) -> tuple[int, ...]:
    numbers = re.fullmatch(r"(?:client(\d+)|[0-9a-f]{16})-attack(\d+)-batch(\d+)", finding.case)
    client, attack, batch = (int(number or 0) for number in numbers.groups()) if numbers else (0, 0, 0)
    return client, batch, attack


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a description of the differences between two identities, at most four entries of them."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}" for key in keys[:4]]
    return "; ".join(shown) + (f"; and {len(keys) - 4} more" if len(keys) > 4 else "")


def _run_of(folder: Path) -> RunRecord | None:
    return read_json(folder / RUN, RunRecord.from_json)


def _short(value: Any) -> str:
    return shortened(repr(value), 60)
