"""The charts of a sweep: lines over one numeric key, or heat maps over two, as small multiples over the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from markupsafe import Markup

from ..audit.sweep_file import canonical, value_in_words
from ..values.characters import shortened
from .heat_map import NOT_RUN, RECOGNISABLE, HeatEntry, HeatMap, heat_entry, mark_of, top_of, verdict_in_words
from .line_chart import ChartLine, line_chart
from .svg import LOGARITHMIC_FROM, Axis
from .sweep_cells import Quantity, Swept, SweptAttack, SweptCell

LONGEST_MARK = 18  # characters of a name at the end of a line
SMALLEST = 1e-100  # the ratio of two values of an axis must be a number
TICK_ROOM = 0.07  # smallest distance between two names below a line chart, as a share of its width
MOST_GAPS = 12  # gaps of a line that are named


@dataclass(frozen=True)
class Dimension:
    """A factor of the grid: one key, or the keys whose values go together.

    Args:
        name: Its keys.
        points: Key -> value, one mapping for each of its values.
    """

    name: str
    points: tuple[Mapping[str, Any], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Its values in words."""
        return tuple(" / ".join(value_in_words(value, 48) for value in point.values()) for point in self.points)

    @property
    def numbers(self) -> tuple[float, ...]:
        """Its values if it is one key with numbers that an axis can hold, else none."""
        values = [value for point in self.points for value in point.values()]
        single = len(values) == len(self.points) and all(type(value) in (int, float) for value in values)
        drawable = single and all(value == 0 or SMALLEST <= abs(value) <= 1 / SMALLEST for value in values)
        return tuple(map(float, values)) if drawable else ()


@dataclass(frozen=True)
class SweepChart:
    """All drawings of one quantity.

    Args:
        title: Name of the quantity.
        lines: The line chart, or `None`.
        maps: The heat maps, or none.
        low: What the lightest shade of a heat map means.
        scale: What the darkest shade of a heat map means.
        remark: A sentence on an axis, or an empty string.
    """

    title: str
    lines: Markup | None
    maps: tuple[HeatMap, ...]
    low: str = ""
    scale: str = ""
    remark: str = ""


def sweep_charts(found: Swept, grid: Mapping[str, Sequence[Any]], zipped: Sequence[str]) -> tuple[SweepChart, ...]:
    """Return the charts of every quantity over the grid; keys with a single value are left out.

    Args:
        found: The cells.
        grid: Key -> its values.
        zipped: The keys whose values go together.
    """
    dimensions = [one for one in dimensions_of(grid, zipped) if len(one.points) > 1]
    fixed = {key: values[0] for key, values in grid.items() if all(key not in one.points[0] for one in dimensions)}
    if len(dimensions) == 1 and dimensions[0].numbers:
        return tuple(_lines(quantity, found, dimensions[0], fixed) for quantity in found.quantities)
    down, across, others = _arranged(dimensions)
    return tuple(_maps(quantity, found, down, across, others, fixed) for quantity in found.quantities)


def dimensions_of(grid: Mapping[str, Sequence[Any]], zipped: Sequence[str]) -> list[Dimension]:
    """Return the factors of a grid in order."""
    together = [key for key in grid if key in zipped]
    found = []
    for key, values in grid.items():
        if key not in together:
            found.append(Dimension(key, tuple({key: value} for value in values)))
        elif key == together[0]:
            rows = zip(*(grid[one] for one in together), strict=True)
            points = tuple(dict(zip(together, row, strict=True)) for row in rows)
            found.append(Dimension(" / ".join(together), points))
    return found


def _arranged(dimensions: Sequence[Dimension]) -> tuple[Dimension | None, Dimension | None, list[Dimension]]:
    """Return what is drawn downwards, across, and in panels.

    The two dimensions with most values make the map. A numeric one goes across, the longer one downwards if both are.
    """
    largest = sorted(dimensions, key=lambda one: len(one.points), reverse=True)[:2]
    across = None
    if len(largest) == 2:
        first, second = largest
        across = first if first.numbers and not second.numbers else second
    down = next((one for one in largest if one is not across), None)
    return down, across, [one for one in dimensions if one is not across and one is not down]


def _maps(
    quantity: Quantity,
    found: Swept,
    down: Dimension | None,
    across: Dimension | None,
    others: Sequence[Dimension],
    fixed: Mapping[str, Any],
) -> SweepChart:
    top = top_of(quantity, found.cells)
    attacks = [attack for attack in found.attacks if _has(found, attack, quantity)]
    maps = []

    def entry(attack: str, *points: Mapping[str, Any]) -> HeatEntry:
        return heat_entry(_at(found, fixed, *points), attack, quantity, top)

    if across is None:  # nothing but the attacks to stand side by side
        rows = tuple((name, tuple(entry(attack, point) for attack in attacks)) for name, point in _points(down))
        maps.append(HeatMap("", "attack" if any(attacks) else "", down.name if down else "", tuple(attacks), rows))
        return SweepChart(quantity.name, None, tuple(maps), _low(quantity), quantity.text(top))
    for attack, panel in product(attacks, product(*(one.points for one in others))):
        chosen = {key: value for point in panel for key, value in point.items()}
        names = [f"{key} = {value_in_words(value)}" for key, value in chosen.items()]
        rows = tuple(
            (
                name,
                tuple(
                    heat_entry(_at(found, fixed, chosen, row, column), attack, quantity, top)
                    for column in across.points
                ),
            )
            for name, row in _points(down)
        )
        heading = ", ".join(filter(None, [attack, *names]))
        maps.append(HeatMap(heading, across.name, down.name if down else "", across.labels, rows))
    return SweepChart(quantity.name, None, tuple(maps), _low(quantity), quantity.text(top))


def _low(quantity: Quantity) -> str:
    return "0 or less" if quantity.line else "0"


def _points(dimension: Dimension | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from zip(dimension.labels, dimension.points, strict=True) if dimension else [("", {})]


def _at(found: Swept, *points: Mapping[str, Any]) -> SweptCell | None:
    return found.at.get(canonical({key: value for point in points for key, value in point.items()}))


def _has(found: Swept, attack: str, quantity: Quantity) -> bool:
    members = (cell.attacks[attack].findings for cell in found.cells if attack in cell.attacks)
    return any(quantity.concerns(finding) for findings in members for finding in findings)


def _lines(quantity: Quantity, found: Swept, dimension: Dimension, fixed: Mapping[str, Any]) -> SweepChart:
    places, axis, remark = _across(dimension)
    order = sorted(range(len(places)), key=places.__getitem__)
    cells = [(places[index], _at(found, fixed, dimension.points[index])) for index in order]
    lines, gaps = [], []
    for tone, attack in enumerate(one for one in found.attacks if _has(found, one, quantity)):
        drawn, left_out = _pieces(quantity, attack, tone, [(place, cell) for place, cell in cells if cell])
        lines += drawn
        gaps += left_out
    if gaps:
        more = f" and {len(gaps) - MOST_GAPS} more" if len(gaps) > MOST_GAPS else ""
        remark = f"{remark} Without a point: {'; '.join(gaps[:MOST_GAPS])}{more}.".strip()
    if not lines:
        return SweepChart(quantity.name, None, (), remark=remark)
    chart = line_chart(
        lines,
        _up(lines, quantity),
        f"{quantity.name} over {dimension.name}",
        up=quantity.name,
        across=dimension.name,
        wide=True,
        x=axis,
        ticks=_ticks(places, dimension.labels, axis),
        threshold=quantity.line and (quantity.factor * quantity.line[0], quantity.line[1]),
    )
    return SweepChart(quantity.name, chart, (), remark=remark)


def _pieces(
    quantity: Quantity, attack: str, tone: int, cells: Sequence[tuple[float, SweptCell]]
) -> tuple[list[ChartLine], list[str]]:
    """Return the line of one attack, interrupted where a cell has no number, and why those cells have none."""
    pieces: list[ChartLine] = []
    gaps: list[str] = []
    begun = False
    for place, cell in cells:
        measured = cell.attacks.get(attack)
        interval = measured.interval(quantity) if measured else None
        if measured is None or interval is None:
            gaps.append(f"{attack + ' in ' if attack else ''}cell {cell.number} ({_why(measured, quantity)})")
            begun = False
            continue
        if not begun:
            pieces.append(ChartLine(attack or quantity.name, "", tone, ()))
        begun = True
        words = f"{attack + ': ' if attack else ''}{quantity.sentence(interval)}. {verdict_in_words(cell, measured)}"
        ends = (quantity.factor * interval.low, quantity.factor * interval.high)
        span = [(place, *ends)] if all(map(math.isfinite, ends)) else []
        last, filled = pieces[-1], mark_of(cell, measured, quantity) == RECOGNISABLE
        pieces[-1] = replace(
            last,
            points=(*last.points, (place, quantity.factor * interval.mean)),
            spans=(*last.spans, *span),
            links=(*last.links, (f"#{cell.anchor}", f"cell {cell.number}: {cell.words}; {words}", filled)),
        )
    if pieces:
        pieces[-1] = replace(pieces[-1], mark=shortened(attack, LONGEST_MARK))
    return pieces, gaps


def _why(measured: SweptAttack | None, quantity: Quantity) -> str:
    if measured is None:
        return f"{NOT_RUN}, or failed"
    return "cannot be judged" if quantity.line else "no labels inferred"


def _up(lines: Sequence[ChartLine], quantity: Quantity) -> Axis:
    """Return a vertical axis with the means, zero, and the line of recovery if it is near; 0 to 100 for percent."""
    means = [value for line in lines for _, value in line.points]
    if quantity.line is None:
        return Axis(-2.0, 102.0)
    low, high = min([0.0, *means]), max([quantity.factor * quantity.line[0], *means])
    room = high - low
    ends = [end for line in lines for _, *span in line.spans for end in span]
    low, high = max(min([low, *ends]), low - room), min(max([high, *ends]), high + room)
    return Axis(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _across(dimension: Dimension) -> tuple[list[float], Axis, str]:
    """Return the place of every value on the horizontal axis, the axis, and a remark on it.

    A zero has no place on a logarithmic axis: it stands one step before the smallest value.
    """
    values = dimension.numbers
    positive = sorted(value for value in values if value > 0)
    places, remark = list(values), ""
    spread = positive[-1] / positive[0] if len(positive) > 1 else 1.0
    if spread > LOGARITHMIC_FROM and min(values) == 0:
        step = max(spread ** (1 / (len(positive) - 1)), 2.0)
        places = [value or positive[0] / step for value in values]
        remark = "The horizontal axis is logarithmic; 0 stands at its left end."
    elif spread > LOGARITHMIC_FROM and min(values) > 0:
        remark = "The horizontal axis is logarithmic."
    return places, Axis.around(places), remark


def _ticks(places: Sequence[float], labels: Sequence[str], axis: Axis) -> list[tuple[float, str]]:
    """Return the values of a key with their names, without those that would touch the one before."""
    kept: list[tuple[float, str]] = []
    for place, label in sorted(zip(places, labels, strict=True)):
        if not kept or axis.share(place) - axis.share(kept[-1][0]) >= TICK_ROOM:
            kept.append((place, label))
    return kept
