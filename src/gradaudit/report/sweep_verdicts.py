"""The cells of a sweep by verdict: which leak, which do not, and which cannot be judged or have not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import formatting
from .sweep_cells import SweptCell, level_of
from .verdict import Severity, Verdict

MOST_NAMED = 24  # cells that are named at once
MOST_REMARKS = 8


@dataclass(frozen=True)
class LevelGroup:
    """The cells with one verdict.

    Args:
        verdict: What they have in common; `setting` says how many they are.
        cells: The worst of them, in order.
        more: Number of further ones.
    """

    verdict: Verdict
    cells: tuple[SweptCell, ...]
    more: int


def level_groups(cells: Sequence[SweptCell], noun: str) -> tuple[LevelGroup, ...]:
    """Return the cells by verdict, worst first; `noun` is what the examples are called, in the plural."""
    found: dict[tuple[Severity, str], list[SweptCell]] = {}
    for cell in cells:
        level = level_of(cell)
        kind = "judged" if level is not None else "unfinished" if cell.findings else "not run"
        found.setdefault((Severity.UNKNOWN if level is None else level, kind), []).append(cell)
    order = sorted(found, key=lambda key: (-key[0], key[1]))
    return tuple(_group(*key, found[key], len(cells), noun) for key in order)


def remarks(cells: Sequence[SweptCell]) -> tuple[tuple[str, bool], ...]:
    """Return the warnings on the cells, each once with its cells, and whether it is an alarm; alarms come first."""
    said: dict[tuple[str, bool], list[int]] = {}
    for alarm in (True, False):
        for cell in cells:
            found = () if cell.verdict is None else cell.verdict.alarms if alarm else cell.verdict.warnings
            for line in found:
                said.setdefault((line, alarm), []).append(cell.number)
    lines = [(f"{_named(numbers, len(cells))}: {line}", alarm) for (line, alarm), numbers in said.items()]
    left_out = len(lines) - MOST_REMARKS
    rest = [(f"{formatting.count(left_out, 'further remark')}: see the cells below.", False)] if left_out > 0 else []
    return (*lines[:MOST_REMARKS], *rest)


def _named(numbers: Sequence[int], total: int) -> str:
    if len(numbers) == total:
        return "All cells" if total > 1 else "The cell"
    if len(numbers) > MOST_NAMED:
        return f"{len(numbers)} of {formatting.count(total, 'cell')}"
    return f"Cell{'s' if len(numbers) > 1 else ''} {formatting.listed([str(number) for number in numbers])}"


def _group(level: Severity, kind: str, cells: Sequence[SweptCell], total: int, noun: str) -> LevelGroup:
    share = formatting.share(len(cells), total, "cell")
    ordered = sorted(cells, key=lambda cell: cell.verdict.severity if cell.verdict else (), reverse=True)
    worst = ordered[0]
    headline, sentence = _sentence(level, kind, share, noun)
    details: tuple[str, ...] = ()
    if worst.verdict and kind == "judged" and level > Severity.NOTHING:
        leads = "" if len(cells) == 1 else "The largest leak: " if level > Severity.UNKNOWN else "For example: "
        name = f"cell {worst.number}{f' ({worst.words})' if worst.words else ''}"
        details = (f"{leads or 'In '}{name}: {worst.verdict.sentence}",)
    verdict = Verdict(share, level, headline, sentence, (level,), details)
    named = sorted(ordered[:MOST_NAMED], key=lambda cell: cell.number)
    return LevelGroup(verdict, tuple(named), max(0, len(cells) - MOST_NAMED))


def _sentence(level: Severity, kind: str, share: str, noun: str) -> tuple[str, str]:
    if kind == "not run":
        return "Not run:", f"{share} without a result."
    if kind == "unfinished":
        return "Unfinished:", f"trials of {share} are missing; so far, nothing recognisable was recovered there."
    if level is Severity.RECOGNISABLE:
        return "Recognisable:", f"private {noun} were recovered in {share}."
    if level is Severity.TRACES:
        return "Traces:", f"none of the private {noun} was recovered in {share}, but there are traces of them."
    if level is Severity.UNKNOWN:
        return "Cannot be judged:", f"{share}. That is not a sign that nothing leaks there."
    return "Nothing recognisable", f"was recovered in {share}; that is not a proof of privacy."
