"""The page of a study: its tables with the published figures beside ours, its figures, its caveats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..files import write_whole
from ..studies import Comparison, Figure, StudyResult, Table
from . import formatting
from .line_chart import Line, line_chart
from .svg import Axis
from .template import fill

PAGE = "study.html"


@dataclass(frozen=True)
class Entry:
    """One number of a table.

    Args:
        text: Mean, or a dash.
        bounds: Its 95 % interval, or nothing.
        reported: The published figure, or nothing.
        best: The best of its row or column.
    """

    text: str
    bounds: str = ""
    reported: str = ""
    best: bool = False


def write_study(result: StudyResult, folder: Path) -> Path:
    """Put the page into the study's folder, whole or not at all, and return its path."""
    page = fill(
        PAGE,
        study=result.study,
        result=result,
        tables=[(table, list(_rows(result, table))) for table in result.study.tables],
        comparisons=[(one, difference_in_words(result, one)) for one in result.study.comparisons],
        charts=[(figure, _chart(result, figure)) for figure in result.study.figures],
    )
    return write_whole(folder / PAGE, page)


def _rows(result: StudyResult, table: Table) -> Iterator[tuple[str, list[Entry]]]:
    cells = [cell.name for cell in result.study.cells[result.scale]]
    columns = list(table.columns.values())
    means = {
        (cell, column): found.mean for cell in cells for column in columns if (found := result.interval(cell, column))
    }
    for cell in cells:
        yield cell, [_entry(result, table, cell, column, means) for column in columns]


def _entry(result: StudyResult, table: Table, cell: str, column: str, means: dict[tuple[str, str], float]) -> Entry:
    published, interval = result.reported(cell, column), result.interval(cell, column)
    reported = "" if published is None else formatting.number(published, table.digits)
    if interval is None:
        return Entry("–", reported=reported)
    along = 0 if table.best == "row" else 1
    rivals = [mean for key, mean in means.items() if key[along] == (cell, column)[along]]
    best = (min if column in table.smaller else max)(rivals)
    low, high = formatting.number(interval.low, 2), formatting.number(interval.high, 2)
    bounds = f"{low}–{high}" if interval.n > 1 else ""
    return Entry(formatting.number(interval.mean, table.digits), bounds, reported, interval.mean == best)


def difference_in_words(result: StudyResult, comparison: Comparison) -> str:
    """Such as `+1.2 [0.4, 2.0], n = 8: confirmed`."""
    found = result.difference(comparison)
    if found is None:
        return "not measured yet"
    if found.n < 2:
        return f"{found.mean:+.2f}, n = 1: one batch decides nothing"
    verdict = "confirmed" if found.low > 0 else "contradicted" if found.high < 0 else "not decided"
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}], n = {found.n}: {verdict}"


def _chart(result: StudyResult, figure: Figure) -> Markup | None:
    lines = []
    for tone, curve in enumerate(figure.curves):
        found = [(x, result.interval(cell, curve.column)) for x, cell in curve.points]
        points = tuple((x, interval.mean) for x, interval in found if interval)
        if len(points) > 1:
            lines.append(Line(curve.label, curve.label, tone, points))
    if not lines:
        return None
    values = [value for line in lines for _, value in line.points]
    axis = Axis(0, 1) if min(values) >= 0 and max(values) <= 1 else Axis.around(values)
    return line_chart(lines, axis, figure.title, up=figure.up, across=figure.across, wide=True)
