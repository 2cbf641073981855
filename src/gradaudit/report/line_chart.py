"""The line chart of an objective over its run: a fixed size, so that the page can set several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import Axis, drawing, nice_ticks, tick_text

WIDTH, HEIGHT = 352, 212
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 24, 38
POINTS_PER_LINE = 240
TONES = 4
LABEL_SPACE = 12  # pixels between the names at the ends of two lines


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        label: Its name in full.
        mark: Its name at its end, a few characters or nothing.
        tone: Which of the style sheet's tones it is drawn in, from 0.
        points: `(step, value)`.
    """

    label: str
    mark: str
    tone: int
    points: tuple[tuple[float, float], ...]


def line_chart(lines: Sequence[Line], axis: Axis, title: str) -> Markup:
    """Lines over steps. Values that the axis does not hold are left out.

    Args:
        lines: What to draw.
        axis: The vertical axis, shared by charts that are to be compared.
        title: What the chart shows, for those who do not see it.
    """
    last = max((step for line in lines for step, _ in line.points), default=0) or 1
    parts = [*_levels(axis), *_steps(last)]
    marks = []
    for line in lines:
        points = [(_x(step, last), _y(value, axis)) for step, value in _thinned(line.points) if axis.holds(value)]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        curve = Markup('<polyline class="curve tone-{}" points="{}"><title>{}</title></polyline>')
        parts.append(curve.format(line.tone % TONES, path, line.label))
        if len(points) == 1:
            parts.append(Markup('<circle class="dot full" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(*points[0]))
        if line.mark:
            marks.append((points[-1][1], line.mark, points[-1][0]))
    parts += _end_marks(marks)
    size = Markup('width="{0}" height="{1}" viewBox="0 0 {0} {1}"').format(WIDTH, HEIGHT)
    return drawing(title, size, parts)


def _x(step: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last


def _y(value: float, axis: Axis) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.share(value)


def _levels(axis: Axis) -> list[Markup]:
    scale = ", logarithmic" if axis.logarithmic else ""
    parts = [Markup('<text x="0" y="11">objective{}</text>').format(scale)]
    for tick in axis.ticks(5):
        y = f"{_y(tick, axis):.1f}"
        parts.append(Markup('<line class="tick" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, WIDTH - RIGHT, y=y))
        text = Markup('<text x="{}" y="{}" dy="4" text-anchor="end">{}</text>')
        parts.append(text.format(LEFT - 7, y, tick_text(tick, axis)))
    return parts


def _steps(last: float) -> list[Markup]:
    floor = HEIGHT - BOTTOM
    parts = [Markup('<line class="zero" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, WIDTH - RIGHT, y=floor)]
    for tick in nice_ticks(0, last, 4):
        text = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:.0f}</text>')
        parts.append(text.format(_x(tick, last), floor + 16, tick))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(Markup('<text x="{:.1f}" y="{}" text-anchor="middle">step</text>').format(middle, HEIGHT - 5))
    return parts


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = max(1, -(-len(points) // POINTS_PER_LINE))
    return [*points[:-1:stride], *points[-1:]]


def _end_marks(marks: Sequence[tuple[float, str, float]]) -> list[Markup]:
    heights: list[float] = []
    for height, _, _ in sorted(marks):
        heights.append(max(height, heights[-1] + LABEL_SPACE) if heights else height)
    overflow = max(0.0, heights[-1] - (HEIGHT - BOTTOM)) if heights else 0.0
    text = Markup('<text class="mark" x="{:.1f}" y="{:.1f}" dy="4">{}</text>')
    return [
        text.format(end + 5, height - overflow, mark)
        for height, (_, mark, end) in zip(heights, sorted(marks), strict=True)
    ]
