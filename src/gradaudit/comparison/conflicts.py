"""Whether two results of one trial are equal, and what differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..values.errors import AuditError
from ..values.finding import Finding
from .folders import StudyTrial

Differences = tuple[tuple[str, str, str], ...]
"""What differs, with its value in the first and in the second result, cut to a length at which they may be equal."""
IGNORED = {"case", "seconds", "versions", "pictures", "transcript", "scores", "control"}
SHOWN, NAMED = 3, 3


@dataclass(frozen=True)
class Conflict:
    """A trial that has different results in two folders.

    Args:
        trial: Name of the trial.
        title: What it is, in words.
        first: The folder with one result.
        second: The folder with the other.
        differ: What differs, with its values in the first and in the second folder.
    """

    trial: str
    title: str
    first: str
    second: str
    differ: Differences

    @property
    def line(self) -> str:
        """The conflict in one line, such as `dlg, batch 1 (3f2a): psnr 12.31 in a, 14.02 in b`."""
        parts = [
            f"{name} differs" if mine == theirs else f"{name} {mine} in {self.first}, {theirs} in {self.second}"
            for name, mine, theirs in self.differ
        ]
        more = f"; and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
        return f"{self.title} (trial {self.trial[:12]}): {'; '.join(parts[:SHOWN])}{more}"


class MergeConflict(AuditError):  # noqa: N818  (the fact is the name)
    """Two folders hold different results of the same trials; `conflicts` holds all of them."""

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        self.conflicts = conflicts
        named = "; ".join(conflict.line for conflict in conflicts[:NAMED])
        more = f"; and {len(conflicts) - NAMED} more" if len(conflicts) > NAMED else ""
        super().__init__(f"{self.advice} They are: {named}{more}.")

    @property
    def advice(self) -> str:
        """How many trials there are, and what to do."""
        what = "1 trial has" if len(self.conflicts) == 1 else f"{len(self.conflicts)} trials have"
        return (
            f"merge: {what} different results, so nothing was written. Delete the lines of these trials from "
            "trials.jsonl in one of the folders, then merge again."
        )


def conflict_of(one: Finding, other: Finding) -> tuple[str, Differences]:
    """Return the name of a trial, and what differs between two findings apart from time, versions and file names."""
    title = ", ".join((one.attack, one.client, *_grid(one), f"batch {one.repeat + 1}", f"seed {one.seed}"))
    mine, theirs = one.to_json(), other.to_json()
    found: list[tuple[str, str, str]] = []
    for side, prefix in (("scores", ""), ("control", "control's ")):
        for name in dict.fromkeys((*mine[side], *theirs[side])):
            a, b = mine[side].get(name), theirs[side].get(name)
            if a != b:
                found.append((f"{prefix}{name}", *_apart(_mean(a), _mean(b))))
    for name in mine.keys() | theirs.keys():
        if name not in IGNORED and not name.endswith("_gain") and mine.get(name) != theirs.get(name):
            found.append((name, *_apart(mine.get(name), theirs.get(name))))
    ranked = {entry: place for place, entry in enumerate(mine)}
    scored = [entry for entry in found if entry[0] not in ranked]
    others = [entry for entry in found if entry[0] in ranked]
    return title, (*scored, *sorted(others, key=lambda entry: ranked[entry[0]]))


def measured_apart(one: StudyTrial, other: StudyTrial) -> tuple[str, Differences]:
    """Return the name of a measurement, and what differs between two results of it."""
    found = []
    for name in dict.fromkeys((*one.values, *other.values)):
        a, b = one.values.get(name), other.values.get(name)
        if a != b:
            found.append((name, *_apart(a, b)))
    if one.data != other.data:
        found.append(("data", *_apart(one.data, other.data)))
    if (one.study, one.cell, one.seed) != (other.study, other.cell, other.seed):
        found.append(("measurement", f"{one.study} {one.name} {one.seed}", f"{other.study} {other.name} {other.seed}"))
    return f"{one.study}, {one.name}, seed {one.seed}", tuple(found)


def _grid(finding: Finding) -> Iterable[str]:
    return (f"{key}={value}" for key, value in finding.grid.items())


def _mean(entry: object) -> object:
    return entry.get("mean") if isinstance(entry, dict) and "mean" in entry else entry


def _apart(a: object, b: object) -> tuple[str, str]:
    """Return two different values, numbers with as many digits as it takes to see that they differ."""
    numbers = [value for value in (a, b) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) == 2:
        for digits in (4, 6, 9, 12, 17):
            first, second = (f"{value:.{digits}g}" for value in numbers)
            if first != second:
                return first, second
    return _text(a), _text(b)


def _text(value: object) -> str:
    text = "none" if value is None else value if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
