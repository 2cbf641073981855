"""The page of a study: its tables with the published figures beside ours, its figures, its caveats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ..files import write_whole
from ..studies import Figure, StudyResult, Table
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
        best: The largest of its row.
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
        charts=[(figure, _chart(result, figure)) for figure in result.study.figures],
    )
    return write_whole(folder / PAGE, page)


def _rows(result: StudyResult, table: Table) -> Iterator[tuple[str, list[Entry]]]:
    for cell in result.study.cells[result.scale]:
        found = {column: result.interval(cell.name, column) for column in table.columns.values()}
        means = [interval.mean for interval in found.values() if interval]
        best = max(means, default=None)
        entries = []
        for column, interval in found.items():
            published = result.reported(cell.name, column)
            reported = "" if published is None else formatting.number(published, table.digits)
            if interval is None:
                entries.append(Entry("–", reported=reported))
                continue
            low, high = formatting.number(interval.low, 2), formatting.number(interval.high, 2)
            bounds = f"{low}–{high}" if interval.n > 1 else ""
            entries.append(
                Entry(formatting.number(interval.mean, table.digits), bounds, reported, interval.mean == best)
            )
        yield cell.name, entries


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
