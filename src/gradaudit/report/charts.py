"""The two chart sections of the page: gains over the control, and objectives during the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..metrics import Interval, mean_interval
from ..values.finding import Finding
from . import formatting, strip_plot
from .cases import CaseGroup, Leak, group
from .line_chart import ChartLine, line_chart
from .svg import Axis

MARKED_LINES = 6


@dataclass(frozen=True)
class StripRow:
    """One strip with its names and numbers."""

    setting: str
    attack: str
    strip: Markup
    summary: str
    bounds: str


@dataclass(frozen=True)
class StripPlot:
    """All strips on one axis."""

    rows: tuple[StripRow, ...]
    head: Markup
    foot: Markup


@dataclass(frozen=True)
class Chart:
    """One panel of the small multiples."""

    attack: str
    setting: str
    drawing: Markup


def interval_of(findings: Sequence[Finding]) -> Interval:
    """Return the mean gain with its 95 % interval: over batches, or over the examples if there is one batch."""
    if len(findings) > 1:
        return mean_interval([finding.mean_gain for finding in findings])
    return mean_interval(list(findings[0].gain))


def strips(groups: Sequence[tuple[str, CaseGroup, Sequence[Leak]]]) -> StripPlot:
    """Return the strip plot of one or more `(attack, group of one setting, its leaks)`."""
    measure = groups[0][1].findings[0].measure
    scale, line = measure.factor, measure.factor * measure.recovered_gain
    axis = strip_plot.axis_for([scale * leak.gain for _, _, found in groups for leak in found], line)
    rows = []
    for attack, members, found in groups:
        mean = interval_of(members.findings)
        shown = Interval(scale * mean.mean, scale * mean.low, scale * mean.high, mean.n)
        values, marked = [scale * leak.gain for leak in found], [leak.recovered for leak in found]
        drawn = strip_plot.strip(values, marked, shown, axis, line, measure)
        summary = formatting.measured(mean.mean, measure, signed=True)
        rows.append(StripRow(members.label, attack, drawn, summary, formatting.bounds(mean, measure)))
    return StripPlot(tuple(rows), strip_plot.head(axis, line, measure), strip_plot.foot(axis, measure))


def objectives(findings: Sequence[Finding], attacks: dict[str, str], settings: dict[str, str]) -> tuple[Chart, ...]:
    """Return one panel per attack and setting with recorded objectives; panels of one attack share the vertical axis.

    Args:
        findings: In the order of the panels.
        attacks: Key of a case -> label of its attack.
        settings: Key of a case -> label of its setting.
    """
    charts = []
    for attack in group([f for f in findings if f.curves], lambda finding: attacks[finding.case]):
        panels = [(members.label, _lines(members)) for members in group(attack.findings, lambda f: settings[f.case])]
        values = [value for _, lines in panels for line in lines for _, value in line.points]
        axis = Axis.around(values)
        for setting, lines in panels:
            title = f"Objective of {attack.label}, {setting}, {formatting.count(len(lines), 'curve')}"
            charts.append(Chart(attack.label, setting, line_chart(lines, axis, title)))
    return tuple(charts)


def _lines(members: CaseGroup) -> list[ChartLine]:
    several = len({finding.repeat for finding in members.findings}) > 1
    marked = several and all(len(f.curves) == 1 for f in members.findings) and len(members.findings) <= MARKED_LINES
    lines = []
    for finding in members.findings:
        for restart, curve in enumerate(finding.curves):
            label = f"batch {finding.repeat + 1}, restart {restart + 1}"
            points = tuple((step, math.nan if value is None else value) for step, value in curve)
            mark = str(finding.repeat + 1) if marked else ""
            lines.append(ChartLine(label, mark, finding.repeat if several else restart, points))
    return lines
