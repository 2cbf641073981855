"""Thresholds on what may leak: their measures, their units, and reading them from text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import AuditError
from .measures import MEASURES, Measure
from .types import Modality
from .validation import as_name, brief, suggest

LABEL_ACCURACY, IDENTIFIED, RECOVERED = "label-accuracy", "identified", "recovered"
COUNTED = (IDENTIFIED, RECOVERED)
ROUNDING = 1e-6  # a value that misses its threshold only by rounding reaches it
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Threshold:
    """A threshold on one measure of what leaked.

    Args:
        measure: Name of the measure, such as `psnr-gain`.
        value: The threshold in the measure's own unit: dB, a fraction, or a number of examples.
        counts: Whether it is a number of examples.
    """

    measure: str
    value: float
    counts: bool = False

    @property
    def modality(self) -> Modality | None:
        """The modality whose gain it limits, or `None` if it limits something else."""
        return next((modality for modality, measure in MEASURES.items() if gain_name(measure) == self.measure), None)

    def reached_by(self, value: float) -> bool:
        """Return whether a value reaches the threshold; a value of zero never does, because nothing leaked then."""
        return value > 0 and value >= self.value - ROUNDING

    def text(self, value: float | None = None) -> str:
        """Return a value of its measure with its unit, such as `31.2 dB`; by default the threshold itself."""
        shown = self.value if value is None else value
        if self.counts:
            return f"{shown:.0f}"
        modality = self.modality
        factor, unit = (100.0, "%") if modality is None else (MEASURES[modality].factor, MEASURES[modality].gain_unit)
        return f"{factor * shown + 0.0:.4g} {unit}"


def gain_name(measure: Measure) -> str:
    """Return the name of the gain in a measure, such as `psnr-gain`."""
    return f"{measure.metric.replace('_', '-')}-gain"


def threshold_measures() -> tuple[str, ...]:
    """Return the names of all measures that can have a threshold."""
    return (*map(gain_name, MEASURES.values()), LABEL_ACCURACY, *COUNTED)


def read_threshold(measure: str, given: Any, at: str) -> Threshold:
    """Return a threshold from a number, or from text with a unit.

    Args:
        measure: Name of the measure.
        given: A number in the measure's own unit, or text such as `6dB`, `50%` or `0.5`.
        at: What the threshold is called in errors.

    Raises:
        AuditError: The measure or the unit is unknown, or the number is out of range.
    """
    if measure not in threshold_measures():
        raise AuditError(f"{at}: unknown measure {as_name(measure)}{suggest(measure, threshold_measures())}")
    number, unit = _number(measure, given, at)
    factors = _units(measure)
    if unit.lower() not in map(str.lower, factors):
        units = " or ".join(filter(None, factors))
        other = ", or none for a number of examples" if measure in COUNTED else ""
        raise AuditError(
            f"{at}: unknown unit {as_name(unit)}. The unit of {measure} is {units}{other}. Write it as "
            f"{example_of(measure)}."
        )
    value = number * next(factor for name, factor in factors.items() if name.lower() == unit.lower())
    found = Threshold(measure, value, measure in COUNTED and not unit)
    _require_sense(found, at)
    return found


def read_thresholds(given: Mapping[str, Any] | Iterable[str | Threshold], at: str) -> tuple[Threshold, ...]:
    """Return several thresholds, each of another measure.

    Args:
        given: Measure -> its threshold, or texts such as `psnr-gain=6dB`.
        at: What the thresholds are called in errors; may be empty.

    Raises:
        AuditError: A text is not `MEASURE=VALUE`, a measure occurs twice, or `read_threshold` raises it.
    """
    if isinstance(given, Mapping):
        pairs = given.items()
        return tuple(read_threshold(str(name), value, f"{at} {as_name(name)}".strip()) for name, value in pairs)
    found = [one if isinstance(one, Threshold) else _read_text(one, at) for one in given]
    names = [one.measure for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise AuditError(f"{at} {twice}: is given twice. Give each measure once.")
    return tuple(found)


def example_of(measure: str) -> str:
    """Return an example of a threshold, such as `psnr-gain=6dB`."""
    unit = next(filter(None, _units(measure)))
    return f"{measure}=6{unit}" if unit == "dB" else f"{measure}=50{unit}"


def _read_text(text: Any, at: str) -> Threshold:
    measure, equals, value = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not equals:
        raise AuditError(f"{at} {as_name(text)}: write it as MEASURE=VALUE, such as {example_of('psnr-gain')}.")
    return read_threshold(measure.strip(), value, f"{at} {as_name(text)}")


def _number(measure: str, given: Any, at: str) -> tuple[float, str]:
    """Return the number and the unit of a threshold."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return (float(given) if abs(given) < 1e300 else math.inf), ""
    matched = _NUMBER.fullmatch(given.strip()) if isinstance(given, str) else None
    if matched is None:
        raise AuditError(f"{at}: should be a number with a unit, such as {example_of(measure)}. Found {brief(given)}.")
    return float(matched[1]), matched[2].strip()


def _units(measure: str) -> dict[str, float]:
    """Return unit -> factor to the measure's own unit; the empty unit is that of a bare number."""
    for found in MEASURES.values():
        if gain_name(found) == measure:
            return {"": 1.0, found.unit: 1 / found.factor, found.gain_unit: 1 / found.factor}
    return {"": 1.0, "%": 0.01}


def _require_sense(threshold: Threshold, at: str) -> None:
    """Raise `AuditError` for a number that is no amount of the measure."""
    value = threshold.value
    if not math.isfinite(value) or value < 0:
        raise AuditError(f"{at}: should be a finite number of at least 0.")
    if threshold.counts:
        if value != int(value):
            raise AuditError(f"{at}: a number of examples is whole. Write a share as {example_of(threshold.measure)}.")
    elif "%" in _units(threshold.measure) and value > 1:
        raise AuditError(f"{at}: is more than all, so nothing could reach it. The most is 1, or 100%.")
