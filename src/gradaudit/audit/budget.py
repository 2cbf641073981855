"""The time budget of an audit, such as `10m`."""

from __future__ import annotations

import re

from ..values.errors import AuditError
from ..values.validation import brief

UNITS = {"s": 1, "m": 60, "h": 3600}
MOST = 10_000_000  # seconds, about four months: a longer budget is a typing error


def seconds_of(text: object, at: str = "budget") -> float:
    """Return the seconds of a budget: a number and a unit.

    Args:
        text: Such as `90s`, `10m` or `1.5h`.
        at: Name of the value in the error.

    Raises:
        AuditError: It is not a positive number with the unit s, m or h.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smh])", text) if isinstance(text, str) else None
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= MOST:
        raise AuditError(f"{at}: write a number above 0 and a unit, such as 90s, 10m or 1.5h. Found {brief(text)}.")
    return seconds


def as_budget(value: object) -> object:
    """Return a budget of an audit file as it is; raise `ValueError` if it is none."""
    if value is None:
        return value
    try:
        seconds_of(value)
    except AuditError as error:
        raise ValueError(str(error).removeprefix("budget: ").rstrip(".")) from error
    return value
