"""The risk corridor: the bounds on what any attack reaches, over the PSNR, with the measured PSNR of each example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ..metrics.bounds import from_scratch_psnr
from .line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, axes
from .svg import Axis, drawing

LANE = -0.12  # height of the marks below the probabilities
FLOOR = -0.24
PROBABILITIES = (0.9999, 0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.01, 0.0001)
MARK = 7  # diameter of a mark in pixels
HATCH = 5  # pixels between the lines of the hatched area
REACH = 6.0  # dB of the axis beyond what is drawn
LEAST, MOST = 30.0, 105.0  # dB at the right end of the axis


@dataclass(frozen=True)
class Corridor:
    """What is drawn.

    Args:
        identification: The largest probability of identification, or `None` if none was measured.
        multiplier: σ.
        steps: T.
        length: The smallest norm of an image, positive.
        size: Values of one image.
        measured: PSNR of each example in dB, and whether it was recovered.
        guess: The highest PSNR of a guess without the update.
    """

    identification: float | None
    multiplier: float
    steps: int
    length: float
    size: int
    measured: tuple[tuple[float, bool], ...]
    guess: float

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Points (PSNR, probability) of the bound without prior knowledge, from the left end of the axis."""
        shape = (self.multiplier, self.length, self.size, self.steps)
        return [(from_scratch_psnr(probability, *shape), probability) for probability in PROBABILITIES]


def draw(corridor: Corridor) -> Markup:
    """Return the drawing of a corridor, of the size of a chart."""
    curve = corridor.curve
    far = max([corridor.guess, min(curve[-1][0], MOST), *(value for value, _ in corridor.measured)], default=0.0)
    frame = Frame(
        WIDTH, RIGHT, Axis(0.0, min(max(LEAST, far + REACH), MOST)), Axis(FLOOR, 1.0), "PSNR in dB", "probability"
    )
    path = _clipped([(frame.x.low, 1.0), *curve, (frame.x.high, 0.0)], frame)
    parts = [*_shades(corridor, path, frame), *axes(frame), *_lines(corridor, path, frame), *_marks(corridor, frame)]
    size = Markup('width="{0}" height="{1}" viewBox="0 0 {0} {1}"').format(WIDTH, HEIGHT)
    return drawing(_title(corridor), size, parts)


def _clipped(points: Sequence[tuple[float, float]], frame: Frame) -> list[tuple[float, float]]:
    """Return the part of a falling curve that is on the axis."""
    low, high = frame.x.low, frame.x.high
    inside = [(x, y) for x, y in points[1:-1] if low <= x <= high]
    before = [y for x, y in points[1:-1] if x < low]
    after = [y for x, y in points[1:-1] if x > high]
    return [(low, min(before, default=1.0)), *inside, (high, max(after, default=0.0))]


def _shades(corridor: Corridor, path: Sequence[tuple[float, float]], frame: Frame) -> list[Markup]:
    """Return the area that guesses without the update reach, and on its right a hatched one between the bounds."""
    left, _ = frame.at(corridor.guess, 0)
    area = Markup('<rect class="guesses" x="{}" y="{}" width="{:.1f}" height="{}"/>')
    parts = [area.format(LEFT, TOP, max(left - LEFT, 0.0), HEIGHT - TOP - BOTTOM)]
    if corridor.identification is None:
        return parts
    hatch = Markup('<line class="hatch" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    for step in range(HATCH, WIDTH, HATCH):
        if left < LEFT + step < WIDTH - RIGHT:
            lower = _at(frame.x.low + (frame.x.high - frame.x.low) * step / (WIDTH - LEFT - RIGHT), path)
            if lower < corridor.identification:
                ends = (frame.height(corridor.identification), frame.height(lower))
                parts.append(hatch.format(*ends, x=LEFT + step))
    return parts


def _at(x: float, path: Sequence[tuple[float, float]]) -> float:
    """Return the height of a falling curve at a position on it."""
    return float(np.interp(x, *zip(*path, strict=True)))


def _lines(corridor: Corridor, path: Sequence[tuple[float, float]], frame: Frame) -> list[Markup]:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.at(*point) for point in path))
    parts = [Markup('<polyline class="bound" points="{}"/>').format(points)]
    label = Markup('<text class="mark" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    middle = corridor.curve[len(PROBABILITIES) // 2][0]
    x, y = frame.at(min(max(middle, frame.x.low), frame.x.high), 0.12)
    right = frame.x.share(middle) > 0.55
    parts.append(label.format(x + (-6 if right else 6), y, "end" if right else "start", "without prior knowledge"))
    if corridor.identification is not None:
        start, height = frame.at(frame.x.low, corridor.identification)
        end = WIDTH - RIGHT
        parts.append(
            Markup('<line class="bound dashed" x1="{:.1f}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                start, end, y=height
            )
        )
        below = corridor.identification > 0.85
        parts.append(label.format(end, height + (13 if below else -5), "end", "identification"))
    return parts


def _marks(corridor: Corridor, frame: Frame) -> list[Markup]:
    """Return one mark for each example, in the lane below the probabilities; marks that meet are moved apart."""
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>')
    placed: list[tuple[float, float]] = []
    for value, _ in corridor.measured:
        x, middle = frame.at(min(max(value, frame.x.low), frame.x.high), LANE)
        free = (y for y in (middle, middle - MARK, middle + MARK) if _is_free(x, y, placed))
        placed.append((x, next(free, middle)))
    fullness = [full for _, full in corridor.measured]
    return [dot.format("dot full" if full else "dot", *at) for at, full in zip(placed, fullness, strict=True)]


def _is_free(x: float, y: float, placed: Sequence[tuple[float, float]]) -> bool:
    """Return whether a mark at this place meets no other one."""
    return all(max(abs(x - other), abs(y - height)) >= MARK for other, height in placed)


def _title(corridor: Corridor) -> str:
    middle = corridor.curve[len(PROBABILITIES) // 2][0]
    named = corridor.identification
    first = "" if named is None else f"identification has a probability of at most {named:.3f}; "
    values = [value for value, _ in corridor.measured]
    last = f"; the measured values are {min(values):.1f} to {max(values):.1f} dB" if values else ""
    return f"Risk corridor: {first}without prior knowledge, half of all attempts reach {middle:.1f} dB{last}"
