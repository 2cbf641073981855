"""The line chart of an objective during a run, of fixed size, so that the page can place several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import Axis, drawing, tick_text

WIDTH, HEIGHT = 352, 212
WIDE = 760
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 24, 38
POINTS_PER_LINE = 240
TONES = 4
LABEL_SPACE = 12  # pixels between the names at the ends of two lines
NEAR = 40  # pixels between the ends of two lines below which their names would overlap


@dataclass(frozen=True)
class ChartLine:
    """One line of a chart.

    Args:
        label: Full name of the line.
        mark: Short name at the end of the line, or an empty string.
        tone: Number of the colour in the style sheet, from 0.
        points: Pairs `(step, value)`.
        spans: Triples `(step, low, high)`: an interval around the value, drawn as a vertical line at that step.
        reaches: Triples `(low, high, value)`: an interval of the horizontal quantity, drawn as a horizontal line.
        links: One `(address, title, filled)` for each point, drawn as a dot that is a link; or none.
    """

    label: str
    mark: str
    tone: int
    points: tuple[tuple[float, float], ...]
    spans: tuple[tuple[float, float, float], ...] = ()
    reaches: tuple[tuple[float, float, float], ...] = ()
    links: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True)
class Frame:
    """The geometry and the axes of a chart.

    Args:
        width: Width of the whole chart, in pixels.
        right: Pixels to the right of the data, for the names of the lines.
        x: Horizontal axis.
        y: Vertical axis.
        across: Name of the horizontal axis.
        up: Name of the vertical axis.
    """

    width: int
    right: int
    x: Axis
    y: Axis
    across: str
    up: str

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel position of a point."""
        return LEFT + (self.width - LEFT - self.right) * self.x.share(x), self.height(y)

    def height(self, y: float) -> float:
        """Return the vertical pixel position of a value."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y.share(y)


def line_chart(
    lines: Sequence[ChartLine],
    axis: Axis,
    title: str,
    *,
    up: str = "objective",
    across: str = "step",
    wide: bool = False,
    x: Axis | None = None,
    ticks: Sequence[tuple[float, str]] = (),
    threshold: tuple[float, str] | None = None,
) -> Markup:
    """Return a chart of lines over steps, or over another quantity. Values outside the axis are omitted.

    Args:
        lines: The lines to draw.
        axis: The vertical axis; charts that are compared share it.
        title: Alternative text of the chart.
        up: Name of the vertical axis.
        across: Name of the horizontal axis.
        wide: Whether the chart stands alone, with room for names at the ends of the lines and a horizontal axis that
            fits the data.
        x: The horizontal axis, if it is to hold more than the data.
        ticks: Positions on the horizontal axis with their texts; by default round numbers.
        threshold: Value and name of a dashed line across the chart.
    """
    last = max((step for line in lines for step, _ in line.points), default=0) or 1
    x = x or (Axis.around([step for line in lines for step, _ in line.points]) if wide else Axis(0, last))
    frame = Frame(WIDE if wide else WIDTH, 120 if wide else RIGHT, x, axis, across, up)
    parts = [*axes(frame, ticks), *_threshold(frame, threshold)]
    marks = []
    for line in lines:
        points = [frame.at(step, value) for step, value in _thinned(line.points) if axis.holds(value)]
        if not points:
            continue
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
        curve = Markup('<polyline class="curve tone-{}" points="{}"><title>{}</title></polyline>')
        parts.append(curve.format(line.tone % TONES, path, line.label))
        parts += _spans(line, frame)
        parts += _links(line, frame)
        if len(points) == 1 and not line.links:
            parts.append(Markup('<circle class="dot full" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(*points[0]))
        if line.mark:
            above = LABEL_SPACE * 2 / 3 if line.reaches else 0
            marks.append((points[-1][1] - above, line.mark, points[-1][0] + (5 if line.links else 0)))
    parts += _end_marks(marks)
    size = Markup('width="{0}" height="{1}" viewBox="0 0 {0} {1}"').format(frame.width, HEIGHT)
    return drawing(title, size, parts, role="group" if any(line.links for line in lines) else "img")


def axes(frame: Frame, ticks: Sequence[tuple[float, str]] = ()) -> list[Markup]:
    """Return both axes with their names; `ticks` are as for `line_chart`."""
    return [*_levels(frame), *_steps(frame, ticks)]


def _links(line: ChartLine, frame: Frame) -> Iterator[Markup]:
    """Yield the points as links, so that a reader can follow them with a mouse or a keyboard."""
    dot = Markup('<a href="{}"><circle class="{}" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}</title></circle></a>')
    for (step, value), (address, title, filled) in zip(line.points, line.links, strict=bool(line.links)):
        if frame.y.holds(value):
            yield dot.format(address, "dot full" if filled else "dot", *frame.at(step, value), title)


def _threshold(frame: Frame, threshold: tuple[float, str] | None) -> Iterator[Markup]:
    if threshold and frame.y.low <= threshold[0] <= frame.y.high:
        y, end = frame.height(threshold[0]), frame.width - frame.right
        line = Markup('<line class="threshold" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>')
        yield line.format(LEFT, end, y=y)
        yield Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(end, y - 4, threshold[1])


def _spans(line: ChartLine, frame: Frame) -> Iterator[Markup]:
    """Yield the intervals, cut off at the ends of the axis."""
    upright = Markup('<line class="curve tone-{}" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    for step, low, high in line.spans:
        if frame.y.holds(low) and frame.y.holds(high):
            x, bottom = frame.at(step, max(low, frame.y.low))
            yield upright.format(line.tone % TONES, bottom, frame.at(step, min(high, frame.y.high))[1], x=x)
    level = Markup('<line class="curve tone-{}" x1="{:.1f}" x2="{:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for low, high, value in line.reaches:
        if frame.x.holds(low) and frame.x.holds(high) and frame.y.holds(value):
            left, y = frame.at(max(low, frame.x.low), value)
            yield level.format(line.tone % TONES, left, frame.at(min(high, frame.x.high), value)[0], y=y)


def _levels(frame: Frame) -> list[Markup]:
    scale = ", logarithmic" if frame.y.logarithmic else ""
    parts = [Markup('<text x="0" y="11">{}{}</text>').format(frame.up, scale)]
    end = frame.width - frame.right
    for tick in frame.y.ticks(5):
        y = f"{frame.height(tick):.1f}"
        parts.append(Markup('<line class="tick" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, end, y=y))
        text = Markup('<text x="{}" y="{}" dy="4" text-anchor="end">{}</text>')
        parts.append(text.format(LEFT - 7, y, tick_text(tick, frame.y)))
    return parts


def _steps(frame: Frame, ticks: Sequence[tuple[float, str]]) -> list[Markup]:
    floor, end = HEIGHT - BOTTOM, frame.width - frame.right
    parts = [Markup('<line class="zero" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, end, y=floor)]
    for tick, name in ticks or [(tick, f"{tick:.0f}") for tick in frame.x.ticks(4)]:
        text = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
        parts.append(text.format(frame.at(tick, frame.y.high)[0], floor + 16, name))
    text = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    parts.append(text.format((LEFT + end) / 2, HEIGHT - 5, frame.across))
    return parts


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = max(1, -(-len(points) // POINTS_PER_LINE))
    return [*points[:-1:stride], *points[-1:]]


def _end_marks(marks: Sequence[tuple[float, str, float]]) -> list[Markup]:
    heights: list[float] = []
    for height, _, end in sorted(marks):
        before = zip(heights, sorted(marks), strict=False)
        beside = [placed for placed, (_, _, other) in before if abs(other - end) < NEAR]
        heights.append(max(height, beside[-1] + LABEL_SPACE) if beside else height)
    overflow = max(0.0, heights[-1] - (HEIGHT - BOTTOM)) if heights else 0.0
    text = Markup('<text class="mark" x="{:.1f}" y="{:.1f}" dy="4">{}</text>')
    return [
        text.format(end + 5, height - overflow, mark)
        for height, (_, mark, end) in zip(heights, sorted(marks), strict=True)
    ]
