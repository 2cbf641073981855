"""What the charts share: the axis, its ticks and the SVG element. There are no scripts; colours are in page.css."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from . import formatting

DECADES_SHOWN = 6
LOGARITHMIC_FROM = 30.0  # ratio of the largest to the smallest value


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, with `low` < `high`; a logarithmic axis is positive."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], linear: bool = False) -> Axis:
        """Return an axis that contains all finite `values`.

        It is logarithmic if their ratio exceeds `LOGARITHMIC_FROM`, except if it is asked to be `linear`.
        """
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if not linear and low > 0 and high / low > LOGARITHMIC_FROM:
            margin = (high / low) ** 0.03
            return cls(low / margin, high * margin, logarithmic=True)
        margin = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
        return cls(low - margin, high + margin)

    def holds(self, value: float) -> bool:
        """Return whether `value` can be drawn."""
        return math.isfinite(value) and (value > 0 or not self.logarithmic)

    def share(self, value: float) -> float:
        """Return the position of `value` between the ends, 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def percent(self, value: float) -> str:
        """Return the position of `value` in percent of the width of a chart."""
        return f"{100 * self.share(value):.2f}%"

    def ticks(self, wanted: int) -> tuple[float, ...]:
        """Return about `wanted` round values on the axis."""
        return decades(self.low, self.high) if self.logarithmic else nice_ticks(self.low, self.high, wanted)


def nice_ticks(low: float, high: float, wanted: int) -> tuple[float, ...]:
    """Return multiples of 1, 2 or 5 times a power of ten in `[low, high]`, at most about `wanted` of them."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(step * k for k in range(first, last + 1))


def decades(low: float, high: float) -> tuple[float, ...]:
    """Return powers of ten in `[low, high]`: thinned if there are many, with multiples by 2 and 5 if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [10.0**k for k in range(first, last + 1)]
    inside = [power for power in powers if low * (1 - 1e-9) <= power <= high * (1 + 1e-9)]
    if len(inside) > 2:
        return tuple(inside[:: -(-len(inside) // DECADES_SHOWN)])
    finer = [factor * power for power in powers for factor in (1, 2, 5)]
    return tuple(tick for tick in finer if low <= tick <= high)


def tick_text(tick: float, axis: Axis) -> str:
    """Return the label of a tick."""
    if not axis.logarithmic and abs(tick) <= 1e-9 * (axis.high - axis.low):  # zero, up to rounding
        return "0"
    power = round(math.log10(abs(tick)))
    whole_power = math.isclose(tick, 10.0**power)
    return formatting.power_of_ten(power) if whole_power and abs(power) > 3 else formatting.scientific(tick)


def drawing(title: str, size: Markup, parts: Sequence[Markup], *, role: str = "img") -> Markup:
    """Return an SVG element with `title` as its alternative text; the role of a drawing with links is `group`."""
    head = Markup('<svg role="{2}" aria-label="{0}" {1}><title>{0}</title>').format(title, size, role)
    return head + Markup("").join(parts) + Markup("</svg>")
