"""The heat map: a table whose cells hold a number, a shade for its size, and a link to the pictures behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..values.characters import shortened
from . import formatting
from .sweep_cells import Quantity, SweptAttack, SweptCell
from .verdict import Severity

SHADES = 7  # classes shade-0 to shade-6 of the template
LONGEST_TITLE = 400  # characters
RECOGNISABLE, TRACES, UNJUDGED, INCOMPLETE = "●", "○", "?", "…"
NOT_RUN = "not run"


@dataclass(frozen=True)
class HeatEntry:
    """One entry of a heat map.

    Args:
        kind: Class of the style sheet: `shade-N`, `not-run`, `outside`, `unjudged` or `unstated`.
        text: The number, or what is there instead.
        mark: What the verdict says about it, as a sign.
        address: Address of the section with the pictures, or an empty string.
        title: Its values, the mean with its interval, and the verdict, in words.
    """

    kind: str
    text: str
    mark: str = ""
    address: str = ""
    title: str = ""


@dataclass(frozen=True)
class HeatMap:
    """A heat map with its headings.

    Args:
        heading: What it shows of the grid, empty if there is a single one.
        across: Name of the columns.
        down: Name of the rows.
        columns: Headings of the columns.
        rows: Heading of each row, with its entries.
    """

    heading: str
    across: str
    down: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatEntry, ...]], ...]


def heat_entry(cell: SweptCell | None, attack: str, quantity: Quantity, top: float) -> HeatEntry:
    """Return the entry of one attack in one cell.

    Args:
        cell: The cell, or `None` where the grid has none.
        attack: Label of the attack.
        quantity: What is shown.
        top: The number with the darkest shade.
    """
    if cell is None:
        return HeatEntry("outside", "")
    found = cell.attacks.get(attack)
    if found is None:
        title = f"cell {cell.number}: {cell.words}: {NOT_RUN}, or failed"
        return HeatEntry("not-run", NOT_RUN, "", f"#{cell.anchor}" if cell.findings else "", _title(title))
    interval = found.interval(quantity)
    mark = mark_of(cell, found, quantity)
    words = f"{attack}: " if attack else ""
    if interval is not None:
        kind, text, told = (
            f"shade-{shade(interval.mean, top)}",
            quantity.text(interval.mean),
            quantity.sentence(interval),
        )
    elif quantity.line and any(map(quantity.concerns, found.findings)):
        kind, text, mark, told = "unjudged", UNJUDGED, "", "cannot be judged"
    else:
        kind, text, told = "unstated", formatting.MISSING, _why_none(found)
    said = f"cell {cell.number}: {cell.words}; {words}{told}. {verdict_in_words(cell, found)}"
    return HeatEntry(kind, text, mark, f"#{cell.anchor}", _title(said))


def shade(value: float, top: float) -> int:
    """Return the number of the shade of a value, 0 for all that are not above zero."""
    share = 0.0 if top <= 0 or not math.isfinite(value) else min(max(value / top, 0.0), 1.0)
    return min(SHADES - 1, math.ceil(share * (SHADES - 1)))


def top_of(quantity: Quantity, cells: Sequence[SweptCell]) -> float:
    """Return the number with the darkest shade, which all heat maps of a quantity share."""
    found = (attack.interval(quantity) for cell in cells for attack in cell.attacks.values())
    return max([quantity.top, *(interval.mean for interval in found if interval)])


def mark_of(cell: SweptCell, found: SweptAttack, quantity: Quantity) -> str:
    """Return the sign of the verdict on one attack in one cell; a label accuracy has none."""
    if quantity.line is None:
        return ""
    level = found.verdict.level
    if level is Severity.RECOGNISABLE:
        return RECOGNISABLE
    unjudged = UNJUDGED if any(quantity.of(finding) is None for finding in found.findings) else ""
    if level is Severity.TRACES:
        return TRACES + unjudged
    if level is Severity.UNKNOWN or unjudged:
        return UNJUDGED
    return "" if cell.complete else INCOMPLETE


def verdict_in_words(cell: SweptCell, found: SweptAttack) -> str:
    """Return the verdict on one attack in one cell, with what limits it."""
    rest = "" if cell.complete else " Trials of this cell are missing."
    return f"{found.verdict.headline} {found.verdict.sentence}{rest}"


def _why_none(found: SweptAttack) -> str:
    granted = any(finding.labels_granted for finding in found.findings)
    return "labels granted" if granted else "no such number"


def _title(text: str) -> str:
    return shortened(text, LONGEST_TITLE)
