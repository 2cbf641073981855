"""The tables of a comparison: means with intervals, and paired differences, as text for the terminal and Markdown."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..comparison import ComparedQuantity, Series, SideBySide
from ..metrics import Interval
from ..values.characters import visible
from . import formatting

UNPAIRED = "not paired"
CSV_HEAD = (
    "series", "run", "metric", "unit", "mean", "low", "high", "n", "batches", "not_judged", "baseline", "difference",
    "difference_low", "difference_high", "pairs", "reason",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@")  # a spreadsheet computes what starts with one of them


@dataclass(frozen=True)
class ComparedCell:
    """One number with its interval.

    Args:
        text: Mean or mean difference; `n/a` if there is no value, `not paired` if there is no difference.
        bounds: Its 95 % interval, or an empty string.
        count: Number of its values if that is not the number of batches of its row, or an empty string.
    """

    text: str
    bounds: str = ""
    count: str = ""

    @property
    def line(self) -> str:
        """The cell on one line, such as `26.1 [24.0, 28.2]`."""
        return " ".join(filter(None, (self.text, self.bounds, f"({self.count})" if self.count else "")))


@dataclass(frozen=True)
class ComparedTable:
    """One table of a comparison.

    Args:
        title: Title of the table.
        head: Headings, that of the series first.
        rows: Label, number of batches and cells of each series.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[ComparedCell, ...]], ...]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The rows as plain text."""
        return [(label, count, *(cell.line for cell in cells)) for label, count, cells in self.rows]


def tables(compared: SideBySide) -> list[ComparedTable]:
    """Return the table of means, and that of paired differences if there are several series."""
    head = tuple(quantity.heading for quantity in compared.quantities)
    found = [
        ComparedTable("Means", ("series", "batches", *head), tuple(_mean_row(compared, s) for s in compared.series))
    ]
    if len(compared.series) > 1:
        rows = tuple(_gap_row(compared, one) for one in compared.series if one.label != compared.baseline)
        found.append(ComparedTable(f"Paired differences from {compared.baseline}", ("series", "pairs", *head), rows))
    return found


def _mean_row(compared: SideBySide, one: Series) -> tuple[str, str, tuple[ComparedCell, ...]]:
    total, judged = len(one.entries), len(one.entries) - len(one.not_judged)
    means = [compared.means.get((one.label, quantity.key)) for quantity in compared.quantities]
    cells = (_cell(mean, quantity, judged) for mean, quantity in zip(means, compared.quantities, strict=True))
    return one.label, str(total) if judged == total else f"{judged} of {total}", tuple(cells)


def _gap_row(compared: SideBySide, one: Series) -> tuple[str, str, tuple[ComparedCell, ...]]:
    found = [compared.differences[one.label, quantity.key].interval for quantity in compared.quantities]
    pairs = max((gap.n for gap in found if gap), default=0)
    cells = (
        _cell(gap, quantity, pairs, signed=True) if gap else ComparedCell(UNPAIRED)
        for gap, quantity in zip(found, compared.quantities, strict=True)
    )
    return one.label, str(pairs), tuple(cells)


def _cell(interval: Interval | None, quantity: ComparedQuantity, usual: int, *, signed: bool = False) -> ComparedCell:
    if interval is None:
        return ComparedCell(formatting.MISSING)
    mean, *ends = (shown(value, quantity, signed=signed) for value in (interval.mean, interval.low, interval.high))
    bounds = f"[{', '.join(ends)}]" if math.isfinite(interval.low) and math.isfinite(interval.high) else ""
    return ComparedCell(mean, bounds, "" if interval.n == usual else f"n = {interval.n}")


def shown(value: float, quantity: ComparedQuantity, *, signed: bool = False) -> str:
    """Return a value in the unit shown, with three digits if it is very large, or too small for its decimals."""
    scaled = quantity.factor * value
    small = 0 < abs(scaled) < 10.0**-quantity.digits and not quantity.unit
    if math.isfinite(scaled) and (small or abs(scaled) >= 1e6):
        return ("+" if signed and scaled > 0 else "") + formatting.scientific(scaled)
    return formatting.number(scaled, quantity.digits, signed=signed)


def markdown_tables(compared: SideBySide) -> str:
    """Return the tables and notes as Markdown."""
    blocks = []
    for table in tables(compared):
        lines = [_markdown_row(table.head), "|---" + "|---:" * (len(table.head) - 1) + "|"]
        blocks += [f"**{_markdown(table.title)}**", "\n".join([*lines, *map(_markdown_row, table.lines)])]
    blocks.append(INTERVALS)
    if compared.notes:
        blocks.append("\n".join(f"- {_markdown(note)}" for note in compared.notes))
    return "\n\n".join(blocks)


INTERVALS = "Means over batches with 95 % bootstrap intervals."


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    """Return text literally: what Markdown or HTML would interpret is escaped, in table cells too."""
    escaped = re.sub(r"([\\`*_{}#|~$])", r"\\\1", visible(text))
    escaped = re.sub(r"\]\(", r"]\\(", escaped)  # no link; an interval keeps its brackets
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def csv_table(compared: SideBySide) -> str:
    """Return one row for each series and metric, with values in the metric's own unit, as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for one in compared.series:
        for quantity in compared.quantities:
            writer.writerow(map(_csv, _csv_row(compared, one, quantity)))
    return file.getvalue().rstrip("\n")


def _csv_row(compared: SideBySide, one: Series, quantity: ComparedQuantity) -> Iterable[str | float | int | None]:
    mean = compared.means.get((one.label, quantity.key))
    paired = compared.differences.get((one.label, quantity.key))
    gap = paired.interval if paired else None
    yield from (one.label, one.run, quantity.key, quantity.unit if quantity.factor == 1 else "")
    yield from ((mean.mean, mean.low, mean.high, mean.n) if mean else (None, None, None, 0))
    yield from (len(one.entries), len(one.not_judged), compared.baseline if paired else "")
    yield from ((gap.mean, gap.low, gap.high, gap.n) if gap else (None, None, None, 0 if paired else None))
    yield (paired.why_not or paired.remark) if paired else ""


def _csv(value: str | float | int | None) -> str:
    """Return a field; text never starts like a formula."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        text = visible(value)
        return f"'{text}" if text.startswith(FORMULA) else text
    return repr(value)
