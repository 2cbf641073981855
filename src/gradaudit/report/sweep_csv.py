"""The findings of a sweep as a table for spreadsheets and programs: one row for each finding."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..audit.sweep_file import canonical
from ..metrics import METRICS
from ..values.characters import visible
from ..values.finding import Finding
from .costs import CostSetting
from .sweep_cells import Swept, judged_gain

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet computes a text that begins with one of these."""
NO_COST: dict[str, float | None] = {"accuracy": None, "accuracy_equal_bits": None, "bits": None}


def sweep_csv(
    found: Swept,
    findings: Sequence[Finding],
    grid: Mapping[str, Sequence[Any]],
    settings: Sequence[CostSetting] = (),
) -> str:
    """Return one row for each finding, in the order of the cells.

    There is a column for each key of the grid. Numbers are written as they are. A whole defense and other values that
    are neither a number nor text are written as JSON. Text that begins with `=`, `+`, `-` or `@` gets an apostrophe in
    front, so that no name can become a formula; invisible characters are written as escapes. What a finding lacks is
    empty. `gain` is the mean over the examples that can be judged, as on the page, and `batch` is counted from 0.

    Args:
        found: The cells.
        findings: All findings, also of no cell; those come last, without the number of a cell.
        grid: Key -> its values.
        settings: What the settings cost, if a federation was trained. `accuracy`, `accuracy_equal_bits` and `bits` are
            then means over the seeds of the setting of the cell.
    """
    names = dict.fromkeys(name for finding in findings for name in (*finding.scores.named, *finding.control.named))
    metrics = [name for name in METRICS if name in names] + [name for name in names if name not in METRICS]
    numbers = {canonical(cell.at): cell.number for cell in found.cells}
    ordered = sorted(findings, key=lambda finding: numbers.get(canonical(finding.grid), len(numbers) + 1))
    costs = _costs(settings)
    rows = []
    for finding in ordered:
        number = numbers.get(canonical(finding.grid))
        rows.append(_row(finding, number, grid, metrics) | (costs.get(number, NO_COST) if settings else {}))
    columns = list(rows[0]) if rows else ["cell", *grid]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_text, columns))
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return file.getvalue()


def _row(
    finding: Finding, cell: int | None, grid: Mapping[str, Sequence[Any]], metrics: Sequence[str]
) -> dict[str, Any]:
    judgeable = finding.judgeable if finding.scored and not finding.cannot_judge else ()
    return {
        "cell": cell,
        **{key: _plain(finding.grid[key]) if key in finding.grid else None for key in grid},
        "attack": finding.attack,
        "client": finding.client,
        "batch": finding.repeat,
        "seed": finding.seed,  # the same as the key of that name, if the grid has it
        "examples": finding.examples,
        "judgeable": sum(judgeable),
        **{name: _mean(finding.scores.named, name) for name in metrics},
        **{f"control_{name}": _mean(finding.control.named, name) for name in metrics},
        "gain": judged_gain(finding),
        "label_accuracy": finding.label_accuracy,
        "labels_granted": finding.labels_granted,
        "verified": finding.verified,
        "objective": finding.objective,
        "seconds": finding.seconds,
        "cannot_judge": finding.cannot_judge,
        "trial": finding.trial,
    }


def _costs(settings: Sequence[CostSetting]) -> dict[int | None, dict[str, float | None]]:
    """Return the number of each cell -> what its setting costs."""
    budget = min((one.bits for one in settings if one.results), default=math.nan)
    found: dict[int | None, dict[str, float | None]] = {}
    for one in settings:
        if one.accuracy is not None and (within := one.within(budget)) is not None:
            cost = {"accuracy": one.accuracy.mean, "accuracy_equal_bits": within.mean, "bits": one.bits}
            found |= {cell.number: {**cost} for cell in one.cells}
    return found


def _plain(value: Any) -> Any:
    """Return a value of the grid as a number, a text, or JSON."""
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _mean(named: Mapping[str, Any], metric: str) -> float | None:
    return named[metric].mean if metric in named else None


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or not math.isfinite(value) else repr(value)


def _text(value: str) -> str:
    shown = visible(value)
    return f"'{shown}" if value.lstrip(" ").startswith(FORMULA) else shown
