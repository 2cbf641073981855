"""Results on disk: one JSON line for each finding, appended as soon as it is computed, so that a run can resume."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ..values.characters import shortened
from ..values.errors import AuditError, AuditWarning
from ..values.files import append_line, make_folder, read_whole, refused, write_whole
from ..values.finding import Finding, RunRecord
from ..values.records import parsed
from .lock import locked

RUN, RESULTS = "run.json", "results.jsonl"
Record = TypeVar("Record")


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
        self.folder, self.run = folder, run
        self.findings: list[Finding] = []
        make_folder(folder, option="--out")
        with locked(folder):
            self._resume()
            write_whole(folder / RUN, json.dumps(asdict(run), indent=1, default=str))

    @property
    def done(self) -> set[str]:
        """Keys of the cases that are finished."""
        return {finding.case for finding in self.findings}

    def append(self, finding: Finding) -> None:
        """Write one finding to the disk, where it survives an interruption or an error of a later case."""
        append_line(self.folder / RESULTS, finding.to_json())
        self.findings.append(finding)

    def refresh(self) -> None:
        """Read the findings of the folder again: another process may have added some before this one locked it."""
        self.findings = read_findings(self.folder, mend=True)

    def _resume(self) -> None:
        before = _run_of(self.folder)
        if before is None:
            if read_whole(self.folder / RESULTS):
                raise AuditError(f"--out {self.folder}: contains {RESULTS} without {RUN}. Choose another folder.")
            return
        changed = difference(before.identity, json.loads(json.dumps(self.run.identity, default=str)))
        if changed:
            raise AuditError(
                f"--out {self.folder}: holds results of another configuration: {changed}. "
                "Choose another folder, or delete it."
            )
        self.refresh()


def read_run(folder: Path) -> RunRecord:
    """Return the record of the run in `folder`; raise `AuditError` if there is none."""
    found = _run_of(folder)
    if found is None:
        raise AuditError(f"{folder}: contains no {RUN}, so it is not the folder of a run.")
    return found


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


def read_findings(folder: Path, *, mend: bool = False) -> list[Finding]:
    """Return the findings in `folder`, without an incomplete last line, which `mend` also cuts off the file.

    Raises:
        AuditError: Another line is not a finding, or repeats a case.
    """
    return read_lines(folder / RESULTS, Finding.from_json, lambda finding: finding.case, mend=mend)


def read_lines(
    path: Path, convert: Callable[[Any], Record], key: Callable[[Record], Hashable], *, mend: bool = False
) -> list[Record]:
    """Return the records of a file of JSON lines; an incomplete last line is skipped with a warning.

    Args:
        path: The file; a missing file has no records.
        convert: Converts a parsed line to a record; raises `ValueError` if the line is incomplete.
        key: Returns the key of a record, which must be unique in the file.
        mend: Whether to cut an incomplete last line off the file.

    Raises:
        AuditError: `convert` refuses a line, or a line has the key of an earlier one.
    """
    raw = read_whole(path) or b""
    *lines, torn = raw.split(b"\n")
    records: list[Record] = []
    first: dict[Hashable, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = convert(parsed(line))
        except ValueError as error:
            raise AuditError(
                f"{path}, line {number}: is not a finding: {error}. Restore the line, or delete it to compute it again."
            ) from error
        if (earlier := first.setdefault(key(record), number)) != number:
            raise AuditError(f"{path}, line {number}: repeats the case of line {earlier}. Delete one of the two.")
        records.append(record)
    if torn:
        fate = "was cut off, and its case is computed again" if mend else "is skipped"
        if mend:
            with refused(path):
                os.truncate(path, len(raw) - len(torn))
        warnings.warn(f"{path}, line {len(lines) + 1}: is incomplete; it {fate}.", AuditWarning, stacklevel=2)
    return records


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a description of the differences between two identities, at most four entries of them."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}" for key in keys[:4]]
    return "; ".join(shown) + (f"; and {len(keys) - 4} more" if len(keys) > 4 else "")


def _run_of(folder: Path) -> RunRecord | None:
    return read_json(folder / RUN, RunRecord.from_json)


def _short(value: Any) -> str:
    return shortened(repr(value), 60)
