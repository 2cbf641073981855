"""The figure of a comparison as SVG: for each quantity a panel with the batches, the mean and its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator

from markupsafe import Markup

from ..comparison import ComparedQuantity, Series, SideBySide
from ..metrics import Interval
from ..values.characters import shortened, visible
from . import formatting
from .svg import Axis, drawing, tick_text

WIDTH, LEFT, RIGHT = 760, 250, 18
TOP, ROW, FOOT = 26, 30, 34  # heights in pixels: the title of a panel, one series, the axis
LABEL = 38  # most characters of a label
INK, SOFT, RULE, DOT = "#1c2024", "#5a636d", "#dfe3e7", "#3d5a73"


def svg_figure(compared: SideBySide, *, alone: bool = False) -> Markup:
    """Return the figure.

    Args:
        compared: The comparison.
        alone: Whether it is a file of its own and not part of a page.
    """
    height = TOP + ROW * len(compared.series) + FOOT
    parts: list[Markup] = []
    for place, quantity in enumerate(compared.quantities):
        panel = Markup("").join(_panel(compared, quantity))
        parts.append(Markup('<g transform="translate(0 {})">{}</g>').format(place * height, panel))
    size = Markup('viewBox="0 0 {0} {1}" width="{0}" height="{1}"').format(WIDTH, height * len(compared.quantities))
    if alone:
        font = Markup(' xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12" fill="{}"')
        size += font.format(SOFT)
    named = formatting.listed([quantity.name for quantity in compared.quantities])
    return drawing(visible(f"{named} of {formatting.count(len(compared.series), 'attack or cell')}"), size, parts)


def drawn_values(compared: SideBySide, quantity: ComparedQuantity) -> list[tuple[Series, list[float], Interval | None]]:
    """Return each series with its values and its mean in the unit shown."""
    rows = []
    for one in compared.series:
        values = [quantity.factor * value for value in one.all_of(quantity.key)]
        mean = compared.means.get((one.label, quantity.key))
        if mean is not None:
            middle, low, high = (quantity.factor * end for end in (mean.mean, mean.low, mean.high))
            mean = Interval(middle, low, high, mean.n)
        rows.append((one, values, mean))
    return rows


def short_label(series: Series) -> str:
    """Return the label of a series, cut to the room that the figure has."""
    return shortened(visible(series.label), LABEL)


def _panel(compared: SideBySide, quantity: ComparedQuantity) -> Iterator[Markup]:
    rows = drawn_values(compared, quantity)
    axis = Axis.around([value for _, values, _ in rows for value in values])
    bottom = TOP + ROW * len(rows)
    title = Markup('<text x="{}" y="14" font-weight="600" fill="{}">{}</text>')
    yield title.format(LEFT, INK, visible(quantity.heading) + (", logarithmic" if axis.logarithmic else ""))
    tick_line = Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" stroke="{3}"/>')
    tick_name = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    for tick in axis.ticks(6):
        x = _across(tick, axis)
        yield tick_line.format(x, TOP, bottom, SOFT if tick == 0 else RULE)
        yield tick_name.format(x, bottom + 16, tick_text(tick, axis))
    for number, (one, values, mean) in enumerate(rows):
        yield from _row(one, values, mean, axis, TOP + ROW * number + ROW / 2)


def _row(one: Series, values: list[float], mean: Interval | None, axis: Axis, middle: float) -> Iterator[Markup]:
    name = Markup('<text x="{}" y="{}" dy="4" text-anchor="end" fill="{}">{}<title>{}</title></text>')
    yield name.format(LEFT - 12, middle, INK, short_label(one), visible(one.label))
    if mean is None:
        yield Markup('<text x="{}" y="{}" dy="4">{}</text>').format(LEFT + 6, middle, formatting.MISSING)
        return
    dot = Markup('<circle cx="{:.1f}" cy="{}" r="3.5" fill="#fff" stroke="{}" stroke-width="1.5"/>')
    for value in values:
        if axis.holds(value):
            yield dot.format(_across(value, axis), middle - 5, DOT)
    bar = Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}" stroke="{}" stroke-width="2"/>')
    if math.isfinite(mean.low) and math.isfinite(mean.high) and axis.holds(mean.low):
        yield bar.format(_across(mean.low, axis), _across(mean.high, axis), INK, y=middle + 7)
    mark = Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" stroke="{3}" stroke-width="3"/>')
    yield mark.format(_across(mean.mean, axis), middle + 2, middle + 12, INK)


def _across(value: float, axis: Axis) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(axis.share(value), 0.0), 1.0)
