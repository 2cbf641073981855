"""The numbers of a study with their intervals, for the page, the terminal and the Markdown file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..studies import Comparison, Correlation, StudyResult, Table
from . import formatting

NOT_MEASURED, NO_LEAK_SHOWN = "not measured yet", "neither is shown to leak"


@dataclass(frozen=True)
class StudyEntry:
    """One number of a table.

    Args:
        text: Mean; a dash if the cell was not measured, `n/a` if this column does not apply to it.
        bounds: Its 95 % confidence interval, or an empty string.
        reported: The published value, or an empty string.
        best: Whether it is the best of its row or column.
    """

    text: str
    bounds: str = ""
    reported: str = ""
    best: bool = False

    @property
    def line(self) -> str:
        """The entry on one line, such as `26.1 [24.0, 28.2] (published 27.3)`."""
        published = f"(published {self.reported})" if self.reported else ""
        return " ".join(filter(None, (self.text, self.bounds, published)))


def entries(result: StudyResult, table: Table) -> Iterator[tuple[str, list[StudyEntry]]]:
    """Yield the name of every cell with one entry per column of the table; without cells that have none of them."""
    columns = list(table.columns.values())
    measured = ((cell.name, result.values.get(cell.name)) for cell in result.study.cells[result.scale])
    cells = [name for name, values in measured if not values or not values.keys().isdisjoint(columns)]
    means = {
        (cell, column): found.mean for cell in cells for column in columns if (found := result.interval(cell, column))
    }
    for cell in cells:
        yield cell, [_entry(result, table, cell, column, means) for column in columns]


def _entry(
    result: StudyResult, table: Table, cell: str, column: str, means: dict[tuple[str, str], float]
) -> StudyEntry:
    published, interval = result.reported(cell, column), result.interval(cell, column)
    reported = "" if published is None else formatting.number(published, table.digits)
    if interval is None:
        return StudyEntry("n/a" if result.values.get(cell) else "–", reported=reported)
    along = 0 if table.best == "row" else 1
    rivals = [mean for key, mean in means.items() if key[along] == (cell, column)[along]]
    best = (min if column in table.smaller else max)(rivals)
    low, high = (formatting.number(end, table.digits) for end in (interval.low, interval.high))
    bounds = f"[{low}, {high}]" if interval.n > 1 else ""
    bold = interval.mean == best and column not in table.unranked
    return StudyEntry(formatting.number(interval.mean, table.digits), bounds, reported, bold)


def difference_in_words(result: StudyResult, comparison: Comparison) -> str:
    """Return a comparison in words, such as `+1.2 [0.4, 2.0], n = 8: confirmed`."""
    found, words = result.difference(comparison), verdict_of(result, comparison)
    if found is None:
        return words
    bounds = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.n > 1 else ""
    return f"{found.mean:+.2f}{bounds}, n = {found.n}: {words}"


def verdict_of(result: StudyResult, comparison: Comparison) -> str:
    """Return whether the paired difference of two cells confirms a claim, in one or a few words."""
    found = result.difference(comparison)
    if found is None:
        return NOT_MEASURED
    if found.n < 2:
        return "one batch is not conclusive"
    if result.no_leak_shown(comparison):
        return NO_LEAK_SHOWN
    return "confirmed" if found.low > 0 else "contradicted" if found.high < 0 else "inconclusive"


def correlation_in_words(result: StudyResult, asked: Correlation) -> str:
    """Return a rank correlation in words, such as `ρ = +0.71, p = 0.003, n = 16`."""
    found = result.correlation(asked)
    if found is None:
        return "not measured, or constant"
    rho, p, n = found
    return f"ρ = {rho:+.2f}, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}, n = {n}"


def left_out_in_words(result: StudyResult) -> list[str]:
    """Return one line per reason, such as `Omitted, not implemented: GIA-L, τ 1; GIA-L, τ 2`."""
    reasons: dict[str, list[str]] = {}
    for cell, why in result.left_out.items():
        reasons.setdefault(why, []).append(cell)
    return [f"Omitted, {why}: {'; '.join(cells)}" for why, cells in reasons.items()]


def markdown(result: StudyResult) -> str:
    """Return all tables, claims and caveats of a study as Markdown."""
    study = result.study
    blocks = [
        f"# {study.title}",
        f"`gradaudit study {study.name} --scale {result.scale}`; {study.paper}. {study.about}",
        "Means with 95 % confidence intervals over n measurements, each on its own private examples. Claims are "
        "tested on paired differences.",
    ]
    for table in study.tables:
        if rows := list(entries(result, table)):
            blocks += [f"## {table.title}", _rows(result, table, rows)]
    if result.comparisons:
        lines = [f"| {one.claim} | {one.column} | {difference_in_words(result, one)} |" for one in result.comparisons]
        blocks += ["## Claims", "\n".join(["| claim | column | difference |", "|---|---|---|", *lines])]
    if result.correlations:
        lines = [f"| {one.label} | {correlation_in_words(result, one)} |" for one in result.correlations]
        blocks += ["## Rank correlations", "\n".join(["| columns | Spearman |", "|---|---|", *lines])]
    remarks = (*study.caveats, *left_out_in_words(result))
    if remarks:
        blocks += ["## Caveats", "\n".join(f"- {line}" for line in remarks)]
    return "\n\n".join(blocks) + "\n"


def _rows(result: StudyResult, table: Table, rows: list[tuple[str, list[StudyEntry]]]) -> str:
    lines = [f"| | n | {' | '.join(table.columns)} |", "|---" * (len(table.columns) + 2) + "|"]
    for cell, found in rows:
        lines.append(f"| {cell} | {_count(result, cell)} | {' | '.join(entry.line for entry in found)} |")
    return "\n".join(lines)


def _count(result: StudyResult, cell: str) -> int:
    return max(map(len, result.values.get(cell, {}).values()), default=0)
