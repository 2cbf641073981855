"""How numbers and lists are written on the page: the only place that decides on digits, signs and units."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..metrics import Interval
from ..metrics.psnr import PSNR
from ..values.measures import Measure

MISSING = "n/a"
MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Return `value` with `digits` decimals and a true minus sign, or `n/a` for `None`, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = round(value, digits) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:{'+' if signed else ''}.{digits}f}".replace("-", MINUS)


def decibels(value: float | None, *, signed: bool = False) -> str:
    """Return a text such as `26.1 dB`, with a sign if `signed`."""
    text = number(value, 1, signed=signed)
    return text if text == MISSING else f"{text} dB"


def measured(value: float | None, measure: Measure, *, signed: bool = False) -> str:
    """Return a text such as `26.1 dB` or `87 %`; if `signed`, with its sign, and percent as points."""
    if value is None or not math.isfinite(value):
        return MISSING
    return measure.text(value, signed=signed).replace("-", MINUS)


def above_control(gain: float, measure: Measure = PSNR) -> str:
    """Return a gain as words, such as `13.9 dB above the control`."""
    size = measured(abs(gain), measure, signed=True).lstrip("+")
    return f"{size} {'above' if gain >= 0 else 'below'} the control"


def bounds(interval: Interval, measure: Measure = PSNR) -> str:
    """Return a text such as `[+12.1, +15.7]`, or an empty string if there is no interval."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    ends = (number(measure.factor * end, measure.digits, signed=True) for end in (interval.low, interval.high))
    return f"[{', '.join(ends)}]"


def rank(place: float | None, gallery: int) -> str:
    """Return a text such as `rank 1 of 100`; the size of the gallery is omitted if it is unknown (0)."""
    if place is None or not math.isfinite(place):
        return MISSING
    return f"rank {int(place)} of {gallery}" if gallery else f"rank {int(place)}"


def percent(share: float | None) -> str:
    """Return a fraction in [0, 1] as whole percent."""
    text = number(None if share is None else 100 * share, 0)
    return text if text == MISSING else f"{text} %"


def scientific(value: float | None) -> str:
    """Return a value with three significant digits, such as `0.0213` or `4.1 × 10⁻⁷`."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.3g}"
    mantissa, _, exponent = text.partition("e")
    power = f" × {power_of_ten(int(exponent))}" if exponent else ""
    return mantissa.replace("-", MINUS) + power


def power_of_ten(exponent: int) -> str:
    """Return a power of ten, such as `10⁻³`."""
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def seconds(value: float | None) -> str:
    """Return a duration, such as `0.42 s`, `12.3 s`, `3 min 20 s` or `2 h 05 min`."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(amount: int, noun: str) -> str:
    """Return a count with its noun, such as `1 image` or `4 images`."""
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def share(part: int, whole: int, noun: str) -> str:
    """Return a share with its noun, such as `3 of 4 images` or `1 of 1 image`."""
    return f"{part} of {count(whole, noun)}"


def listed(items: Sequence[str]) -> str:
    """Return a list as words, such as `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
