"""The journal of a run: one line of JSON for each trial, appended and flushed to disk before the next one counts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..values.errors import AuditWarning
from ..values.files import append_line, read_whole, refused
from ..values.records import checked, parsed

TRIALS = "trials.jsonl"
SHOWN = 3  # messages about unusable lines; more are counted
Record = TypeVar("Record")


@dataclass(frozen=True)
class Failure:
    """A trial that raised an error, or whose workers died.

    Args:
        trial: Name of the trial.
        title: What it was, in words.
        error: The reason in one line.
        trace: The traceback, if the error was not one that a user can fix.
    """

    trial: str
    title: str
    error: str
    trace: str = ""

    @property
    def line(self) -> str:
        """The trial and the reason in one line."""
        return f"{self.title}: {self.error}"


class Journal(Generic[Record]):
    """The trials of one folder that have a result or an error.

    A line that is incomplete, is no trial or repeats one is skipped with a warning, and its trial is computed again.

    Args:
        path: The file `trials.jsonl`; it need not exist.
        convert: Converts the parsed `result` of a line to a record; raises `ValueError` if it does not fit.
        name: Returns the name of a record's trial. A line of an earlier release is a bare result without it.
    """

    def __init__(self, path: Path, convert: Callable[[Any], Record], name: Callable[[Record], str]) -> None:
        self.path, self._convert, self._name = path, convert, name
        self.results: dict[str, Record] = {}
        self.failures: dict[str, Failure] = {}
        self._state: tuple[int, int] | None = None  # of the file when it was read without an incomplete line

    def read(self, *, mend: bool = False) -> None:
        """Read the file unless it is unchanged; `mend`, under the folder's lock, cuts an incomplete last line off it.

        Raises:
            AuditError: The file cannot be read or mended.
        """
        before = _state(self.path)
        if before is not None and before == self._state:
            return
        raw = read_whole(self.path) or b""
        *lines, torn = raw.split(b"\n")
        self.results, self.failures = {}, {}
        unusable = [why for number, line in enumerate(lines, 1) if (why := self._take(number, line))]
        if torn:
            fate = "was cut off, and its trial is computed again" if mend else "is skipped"
            unusable.append(f"line {len(lines) + 1}: is incomplete; it {fate}.")
            if mend:
                with refused(self.path):
                    os.truncate(self.path, len(raw) - len(torn))
        self._state = None if torn else before
        for why in unusable[:SHOWN]:
            warnings.warn(f"{self.path}, {why}", AuditWarning, stacklevel=2)
        if len(unusable) > SHOWN:
            more = f"{len(unusable) - SHOWN} more lines are skipped, and their trials are computed again."
            warnings.warn(f"{self.path}: {more}", AuditWarning, stacklevel=2)

    def append(self, trial: str, result: Mapping[str, Any]) -> Record:
        """Write the result of a trial to the disk, where it survives an interruption, and return its record."""
        append_line(self.path, {"trial": trial, "result": result})
        self.results[trial] = record = self._convert(result)
        self.failures.pop(trial, None)
        return record

    def fail(self, failure: Failure) -> None:
        """Write down that a trial failed; it is computed again when the run is resumed."""
        line = {"trial": failure.trial, "title": failure.title, "error": failure.error}
        append_line(self.path, {**line, "trace": failure.trace} if failure.trace else line)
        self.failures[failure.trial] = failure

    def forget_failures(self, *, but: Container[str]) -> None:
        """Leave out the failures of trials that are not in `but`, because the run no longer has them."""
        self.failures = {trial: failure for trial, failure in self.failures.items() if trial in but}

    def _take(self, number: int, line: bytes) -> str:
        """Take one line in; return why it cannot be used, or an empty string."""
        try:
            found = parsed(line)
            if not isinstance(found, dict):
                raise ValueError("it is not an object")
            if "error" in found and "trial" in found:
                failure = checked(Failure, found)
                self.failures[failure.trial] = failure
                return ""
            record = self._convert(found.get("result", found))
            trial = self._name(record)
            if found.get("trial") not in (None, "", trial):
                raise ValueError("its result is of another trial")
        except ValueError as error:
            return f"line {number}: is not a trial ({error}). It is skipped, and its trial is computed again."
        if trial in self.results:
            return f"line {number}: repeats a trial. It is skipped."
        self.results[trial] = record
        self.failures.pop(trial, None)
        return ""


def _state(path: Path) -> tuple[int, int] | None:
    """Return the size and the time of the last change of a file, or `None` if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
