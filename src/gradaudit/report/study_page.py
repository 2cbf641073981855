"""The page of a study: its tables with the published values, its figures and its caveats; and the same as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from ..studies import Figure, StudyResult
from ..values.characters import visible
from ..values.files import write_whole
from .film import films
from .line_chart import ChartLine, line_chart
from .study_strip import strips
from .study_tables import correlation_in_words, difference_in_words, entries, markdown
from .svg import Axis
from .template import fill

PAGE = "study.html"
MARKDOWN = "study.md"


def write_study(result: StudyResult, folder: Path) -> Path:
    """Write the page and the Markdown tables into the folder of the study, and return the path of the page."""
    page = fill(
        PAGE,
        study=result.study,
        result=result,
        tables=[(table, list(entries(result, table))) for table in result.study.tables],
        comparisons=[(one, difference_in_words(result, one)) for one in result.comparisons],
        correlations=[(one.label, correlation_in_words(result, one)) for one in result.correlations],
        charts=[(figure, _chart(result, figure), strips(result, figure, folder)) for figure in result.study.figures],
        films=films(result, folder),
    )
    write_whole(folder / MARKDOWN, visible(markdown(result), lines=True))
    return write_whole(folder / PAGE, page)


def _chart(result: StudyResult, figure: Figure) -> Markup | None:
    lines = []
    for tone, curve in enumerate(figure.curves):
        found = [(x, result.interval(cell, curve.column)) for x, cell in curve.points]
        points = tuple((x, interval.mean) for x, interval in found if interval)
        spans = tuple((x, interval.low, interval.high) for x, interval in found if interval and interval.n > 1)
        if len(points) > 1:
            lines.append(ChartLine(curve.label, curve.label, tone, points, spans))
    if not lines:
        return None
    lines += _published(result, figure)
    return line_chart(lines, _axis(lines, figure.up), figure.title, up=figure.up, across=figure.across, wide=True)


def _published(result: StudyResult, figure: Figure) -> Iterator[ChartLine]:
    """Yield a line for each curve whose column has published values in at least two of its cells of the scale."""
    names = {cell.name for cell in result.study.cells[result.scale]}
    for number, curve in enumerate(figure.curves):
        found = [(x, result.reported(cell, curve.column)) for x, cell in curve.points if cell in names]
        points = tuple((x, value) for x, value in found if value is not None)
        if len(points) > 1:
            label = f"{curve.label}, published"
            yield ChartLine(label, label, number + len(figure.curves), points)


def _axis(lines: list[ChartLine], unit: str) -> Axis:
    """Return an axis around the means, with room for intervals up to the range of the means on either side.

    Decibels are logarithms already, and stay on a linear axis.
    """
    means = [value for line in lines for _, value in line.points]
    low, high = min(means), max(means)
    if low >= 0 and high <= 1:
        return Axis(0, 1)
    room = high - low
    ends = (end for line in lines for _, *span in line.spans for end in span)
    values = [*means, *(min(max(end, low - room), high + room) for end in ends)]
    return Axis.around(values, linear=unit == "dB")
