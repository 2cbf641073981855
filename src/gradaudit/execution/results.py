"""Results on disk: one JSON line per finding, appended as each ends, so that a run can stop and go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import AuditError
from ..files import write_whole
from ..finding import Finding, Run

RUN, RESULTS = "run.json", "results.jsonl"


class Results:
    """The findings of one run in one folder.

    Args:
        folder: Made where it is missing.
        run: What the run is; a folder that holds another one is refused.

    Raises:
        AuditError: The folder belongs to another configuration (the difference is named), or cannot be used.
    """

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run = folder, run
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AuditError(f"--out {folder}: cannot be made: {error.strerror}.") from error
        self.findings = self._resume() if (folder / RUN).exists() or (folder / RESULTS).exists() else []
        write_whole(folder / RUN, json.dumps(asdict(run), indent=1, default=str))

    @property
    def done(self) -> set[str]:
        """Keys of the cases that are finished."""
        return {finding.case for finding in self.findings}

    def append(self, finding: Finding) -> None:
        """Write one finding so that it survives whatever comes next."""
        append_line(self.folder / RESULTS, finding.to_json())
        self.findings.append(finding)

    def _resume(self) -> list[Finding]:
        before = read_run(self.folder)
        changed = difference(before.identity, json.loads(json.dumps(self.run.identity, default=str)))
        if changed:
            raise AuditError(
                f"--out {self.folder}: holds results of another configuration: {changed}. "
                "Take another folder, or delete it."
            )
        return read_findings(self.folder, mend=True)


def read_run(folder: Path) -> Run:
    """What the run in `folder` is; raises `AuditError` where there is none."""
    try:
        return Run(**json.loads((folder / RUN).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise AuditError(f"{folder}: holds no {RUN}, so no run of gradaudit.") from error
    except (OSError, ValueError, TypeError) as error:
        raise AuditError(f"{folder / RUN}: cannot be read: {error}.") from error


def read_findings(folder: Path, *, mend: bool = False) -> list[Finding]:
    """The whole findings in `folder`. An incomplete last line is left out, and with `mend` cut off the file.

    Raises:
        AuditError: A line before the last is broken.
    """
    return [Finding.from_json(record) for record in read_lines(folder / RESULTS, Finding.from_json, mend=mend)]


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Write one record so that it survives whatever comes next."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(
    path: Path, check: Callable[[Any], Any] = lambda record: record["values"], *, mend: bool = False
) -> list[dict[str, Any]]:
    """The whole records of a file of JSON lines; an incomplete last one is left out, and with `mend` cut off.

    Args:
        path: The file; a missing one holds nothing.
        check: Raises `KeyError` or `TypeError` for a record that is not whole.
        mend: Cut an incomplete last line off the file.

    Raises:
        AuditError: A line before the last is broken.
    """
    raw = path.read_bytes() if path.exists() else b""
    records: list[dict[str, Any]] = []
    kept = 0
    for number, line in enumerate(raw.splitlines(keepends=True), 1):
        record = _parse(line, check) if line.endswith(b"\n") else None
        if record is None and kept + len(line) < len(raw):
            raise AuditError(f"{path}, line {number}: is no finding. Restore it, or delete the folder and run again.")
        if record is None:
            break
        records.append(record)
        kept += len(line)
    if mend and kept < len(raw):
        with path.open("r+b") as file:
            file.truncate(kept)
    return records


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What changed between two identities, at most four entries of it."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}" for key in keys[:4]]
    return "; ".join(shown) + (f"; and {len(keys) - 4} more" if len(keys) > 4 else "")


def _parse(line: bytes, check: Callable[[Any], Any]) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        check(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
