"""The charts of what a defense costs: accuracy against leakage with the Pareto front, and accuracy over the rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ..metrics import Interval, mean_interval
from ..values.measures import Measure
from .costs import CostSetting, accuracy_in_words
from .line_chart import ChartLine, line_chart
from .pareto import front
from .svg import Axis
from .sweep_cells import gain_by

MOST_CURVES = 12  # lines of the chart over the rounds
PERCENT = 100


def trade_off(settings: Sequence[CostSetting], measure: Measure) -> Markup | None:
    """Return the chart of the gain of the worst attack over the accuracy, or `None` if no setting has both.

    Each dot is a setting with its number and its intervals, and links to its row. The line is the Pareto front.

    Args:
        settings: The settings, all of one measure.
        measure: The measure of the gain.
    """
    known = [one for one in settings if one.accuracy is not None and one.worst is not None]
    if not known:
        return None
    quantity, scale = gain_by(measure), measure.factor
    lines = [_dot(one, scale) for one in known]
    kept = [known[number] for number in front([one.point for one in known])]
    line = tuple((PERCENT * one.accuracy.mean, scale * one.worst[1].mean) for one in kept if one.accuracy and one.worst)
    across = Axis.around([*_ends([one.accuracy for one in known], PERCENT), 0.0])
    across = Axis(0.0, min(100.0, across.high))
    up = Axis.around([*_ends([one.worst[1] for one in known if one.worst], scale), scale * measure.recovered_gain, 0.0])
    return line_chart(
        [ChartLine("Pareto front", "", 1, line), *lines],
        up,
        "Gain of the worst attack over the accuracy of the federation",
        up=quantity.name,
        across="accuracy on held-out examples",
        wide=True,
        x=across,
        ticks=[(tick, f"{tick:.0f} %") for tick in across.ticks(6)],
        threshold=(scale * measure.recovered_gain, measure.line),
    )


def over_rounds(settings: Sequence[CostSetting]) -> Markup | None:
    """Return the chart of the mean accuracy over the rounds, or `None` before a training has finished.

    Args:
        settings: The settings; the first 12 with a training are drawn.
    """
    lines = [_curve(one, tone) for tone, one in enumerate(one for one in settings if one.results)][:MOST_CURVES]
    if not lines:
        return None
    top = max(value for line in lines for _, value in line.points)
    last = max(step for line in lines for step, _ in line.points)
    return line_chart(
        lines,
        Axis(0.0, min(100.0, 1.1 * top or 1.0)),
        "Accuracy over the rounds",
        up="accuracy on held-out examples in %",
        across="round",
        wide=True,
        x=Axis(0.0, last or 1),
        ticks=[(tick, f"{tick:.0f}") for tick in Axis(0.0, last or 1).ticks(6) if tick == round(tick)],
    )


def _dot(one: CostSetting, scale: float) -> ChartLine:
    """Return a setting as a dot with both intervals."""
    assert one.accuracy is not None
    assert one.worst is not None
    attack, gain = one.worst
    x, y = PERCENT * one.accuracy.mean, scale * gain.mean
    title = f"{one.number}: {one.name}, accuracy {accuracy_in_words(one.accuracy)}, {attack}"
    spans = ((x, scale * gain.low, scale * gain.high),) if math.isfinite(gain.low) else ()
    low, high = (min(100.0, max(0.0, PERCENT * end)) for end in (one.accuracy.low, one.accuracy.high))
    reaches = ((low, high, y),) if math.isfinite(one.accuracy.low) else ()
    return ChartLine(
        one.name, str(one.number), 0, ((x, y),), spans, reaches, ((f"#{one.anchor}", title, one.recovered),)
    )


def _curve(one: CostSetting, tone: int) -> ChartLine:
    """Return the mean accuracy of a setting over the rounds that all its seeds evaluated, with intervals at the end."""
    tables = [{number: accuracy for number, accuracy, _ in result.scores} for result in one.results]
    rounds = sorted(set.intersection(*(set(table) for table in tables)))
    points = tuple((float(n), PERCENT * sum(table[n] for table in tables) / len(tables)) for n in rounds)
    last = mean_interval([table[rounds[-1]] for table in tables])
    known = math.isfinite(last.low)
    spans = ((float(rounds[-1]), PERCENT * max(0.0, last.low), PERCENT * last.high),) if known else ()
    return ChartLine(f"{one.number}: {one.name}", str(one.number), tone, points, spans)


def _ends(intervals: Sequence[Interval | None], scale: float) -> list[float]:
    """Return the means and the finite ends of intervals."""
    return [scale * end for one in intervals if one for end in (one.mean, one.low, one.high) if math.isfinite(end)]
