"""Results on disk: one JSON line per finding, appended as each ends, so that a run can stop and go on."""

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
        folder: Made where it is missing.
        run: What the run is; a folder that holds another one is refused.

    Raises:
        AuditError: The folder belongs to another configuration (the difference is named), another process writes to
            it, or it cannot be used.
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
        """Write one finding so that it survives whatever comes next."""
        append_line(self.folder / RESULTS, finding.to_json())
        self.findings.append(finding)

    def refresh(self) -> None:
        """Read again what the folder holds: another process may have written to it before this one locked it."""
        self.findings = read_findings(self.folder, mend=True)

    def _resume(self) -> None:
        before = _run_of(self.folder)
        if before is None:
            if read_whole(self.folder / RESULTS):
                raise AuditError(f"--out {self.folder}: holds {RESULTS} without {RUN}. Take another folder.")
            return
        changed = difference(before.identity, json.loads(json.dumps(self.run.identity, default=str)))
        if changed:
            raise AuditError(
                f"--out {self.folder}: holds results of another configuration: {changed}. "
                "Take another folder, or delete it."
            )
        self.refresh()


def read_run(folder: Path) -> RunRecord:
    """What the run in `folder` is; raises `AuditError` where there is none."""
    found = _run_of(folder)
    if found is None:
        raise AuditError(f"{folder}: holds no {RUN}, so no run of gradaudit.")
    return found


def read_json(path: Path, convert: Callable[[Any], Record]) -> Record | None:
    """What `convert` makes of a JSON file, `None` where there is none.

    Args:
        path: Of the file.
        convert: Raises `ValueError` for what it cannot take.

    Raises:
        AuditError: The file cannot be read, or holds something else.
    """
    raw = read_whole(path)
    try:
        return None if raw is None else convert(parsed(raw))
    except ValueError as error:
        raise AuditError(f"{path}: is damaged: {error}. Restore it, or take another folder.") from error


def read_findings(folder: Path, *, mend: bool = False) -> list[Finding]:
    """The whole findings in `folder`. An incomplete last line is left out, and with `mend` cut off the file.

    Raises:
        AuditError: Another line is no finding, or holds a case for the second time.
    """
    return read_lines(folder / RESULTS, Finding.from_json, lambda finding: finding.case, mend=mend)


def read_lines(
    path: Path, convert: Callable[[Any], Record], key: Callable[[Record], Hashable], *, mend: bool = False
) -> list[Record]:
    """The records of a file of JSON lines; an incomplete last one is left out, with a warning that says so.

    Args:
        path: The file; a missing one holds nothing.
        convert: What a line becomes; raises `ValueError` for a record that is not whole.
        key: What a file may hold only once.
        mend: Cut an incomplete last line off the file.

    Raises:
        AuditError: A line is not what `convert` takes, or has the key of an earlier one.
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
                f"{path}, line {number}: is no finding: {error}. Restore the line, or delete it to compute it again."
            ) from error
        if (earlier := first.setdefault(key(record), number)) != number:
            raise AuditError(f"{path}, line {number}: holds the same case as line {earlier}. Delete one of the two.")
        records.append(record)
    if torn:
        fate = "was cut off, and its case is computed again" if mend else "is left out"
        if mend:
            with refused(path):
                os.truncate(path, len(raw) - len(torn))
        warnings.warn(f"{path}, line {len(lines) + 1}: is incomplete; it {fate}.", AuditWarning, stacklevel=2)
    return records


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What changed between two identities, at most four entries of it."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}" for key in keys[:4]]
    return "; ".join(shown) + (f"; and {len(keys) - 4} more" if len(keys) > 4 else "")


def _run_of(folder: Path) -> RunRecord | None:
    return read_json(folder / RUN, RunRecord.from_json)


def _short(value: Any) -> str:
    return shortened(repr(value), 60)
