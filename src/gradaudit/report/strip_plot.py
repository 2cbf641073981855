"""The strip plot of gains over the control. Positions are percentages, so the plot scales without scaling its text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ..metrics import Interval
from ..metrics.psnr import PSNR
from ..values.measures import Measure
from . import formatting
from .svg import Axis, drawing, tick_text

HEIGHT = 46
DOTS, MEAN = 17, 37  # vertical centres of the two lanes, in pixels
OFFSETS = (0, -8, 8)  # vertical offsets of dots that would overlap
PLACES = 80  # number of dots that fit side by side


def axis_for(values: Sequence[float], threshold: float) -> Axis:
    """Return the axis that contains all `values`, zero and `threshold`, with room for the names of the last two."""
    low, high = min(*values, 0.0), max(*values, threshold)
    span = high - low
    return Axis(min(low - 0.04 * span, -0.16 * span), max(high + 0.04 * span, threshold + 0.3 * span))


def strip(
    values: Sequence[float],
    marked: Sequence[bool],
    mean: Interval,
    axis: Axis,
    threshold: float,
    measure: Measure = PSNR,
    band: tuple[float, float] | None = None,
) -> Markup:
    """Return a strip with one dot per value, filled if marked, and below them the mean with its interval.

    Args:
        values: Gains in the unit of the measure: dB, or points.
        marked: Whether each dot is filled.
        mean: Mean and interval; NaN bounds omit the interval.
        axis: Shared by all strips of a plot.
        threshold: Position of the dashed line.
        measure: The measure of the gains.
        band: Lowest and highest position of a grey band, which lies on the axis.
    """
    parts = [_shade(band, axis)] if band else []
    parts += [_rule("tick", tick, axis) for tick in _ticks(axis)]
    parts += [_rule("zero", 0.0, axis), _rule("threshold", threshold, axis)]
    if math.isfinite(mean.low) and math.isfinite(mean.high):
        ends = [axis.percent(min(max(end, axis.low), axis.high)) for end in (mean.low, mean.high)]
        parts.append(Markup('<line class="interval" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(*ends, MEAN))
    middle = axis.percent(mean.mean)
    parts.append(Markup('<line class="mean" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(middle, MEAN - 6, MEAN + 6))
    for value, offset, full in zip(values, _offsets(values, axis), marked, strict=True):
        dot = Markup('<circle class="{}" cx="{}" cy="{}" r="4"/>')
        parts.append(dot.format("dot full" if full else "dot", axis.percent(value), DOTS + offset))
    gain = formatting.measured(mean.mean / measure.factor, measure, signed=True)
    title = f"{formatting.count(len(values), measure.noun)}, mean gain {gain}"
    return drawing(title, Markup('width="100%" height="{}"').format(HEIGHT), parts)


def head(axis: Axis, threshold: float, measure: Measure = PSNR) -> Markup:
    """Return the names of the two reference lines, placed above the first strip."""
    text = Markup('<text x="{}" y="13" {}>{}</text>')
    parts = [
        text.format(axis.percent(0.0), Markup('text-anchor="end" dx="4"'), "control"),
        text.format(axis.percent(threshold), Markup('dx="-4"'), measure.line),
        Markup('<line class="zero" x1="{0}" x2="{0}" y1="18" y2="24"/>').format(axis.percent(0.0)),
        Markup('<line class="threshold" x1="{0}" x2="{0}" y1="18" y2="24"/>').format(axis.percent(threshold)),
    ]
    meaning = f"the {measure.noun} counts as recovered" if measure.line == "recovered" else "there is a trace"
    return drawing(f"Reference lines: the control, and the gain from which {meaning}", _wide(24), parts)


def foot(axis: Axis, measure: Measure = PSNR) -> Markup:
    """Return the axis labels below the last strip, with their unit."""
    text = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>')
    ticks = [tick for tick in _ticks(axis) if 0.03 < axis.share(tick) < 0.97]
    parts = [text.format(axis.percent(tick), 14, _signed(tick, axis)) for tick in ticks]
    unit = measure.unit if not measure.prefix else f"{measure.gain_unit} of {measure.name}"
    parts.append(text.format("50%", 32, f"gain over the control in {unit}"))
    return drawing(f"Gain over the control in {unit}", _wide(38), parts)


def _wide(height: int) -> Markup:
    return Markup('width="100%" height="{}"').format(height)


def _ticks(axis: Axis) -> tuple[float, ...]:
    return axis.ticks(7)


def _signed(tick: float, axis: Axis) -> str:
    text = tick_text(tick, axis)
    return f"+{text}" if tick > 0 and text != "0" else text


def _rule(name: str, value: float, axis: Axis) -> Markup:
    line = Markup('<line class="{0}" x1="{1}" x2="{1}" y1="0" y2="{2}"/>')
    return line.format(name, axis.percent(value), HEIGHT)


def _shade(band: tuple[float, float], axis: Axis) -> Markup:
    low, high = (min(max(axis.share(end), 0.0), 1.0) for end in band)
    area = Markup('<rect class="guesses" x="{:.2f}%" width="{:.2f}%" y="0" height="{}"/>')
    return area.format(100 * low, 100 * (high - low), HEIGHT)


def _offsets(values: Sequence[float], axis: Axis) -> list[int]:
    crowd: dict[int, int] = {}
    offsets = []
    for value in values:
        place = round(PLACES * axis.share(value))
        offsets.append(OFFSETS[crowd.get(place, 0) % len(OFFSETS)])
        crowd[place] = crowd.get(place, 0) + 1
    return offsets
