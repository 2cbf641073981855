"""The definition of a study: the cells of a published table or figure, their measurements, the published values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ._bench import Bench

Values = Mapping[str, float | None]
"""Column -> value of one measurement, or `None` if it does not apply."""


class Cell(Protocol):
    """One setting of a study: a frozen dataclass whose `repr` is its identity.

    Cells with the same `shares`, if it is true or a name, are measured by one worker for each seed, one after another,
    and may keep results for each other in that process. A cell with `frames`, numbers of steps, stores a film for the
    page (`_film_cells.film_of`).
    """

    @property
    def name(self) -> str:
        """Name of the cell in the table."""
        ...

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the values of one measurement. Raise `AuditError` if it fails."""
        ...

    def missing(self, bench: Bench) -> str | None:
        """Return why this cell cannot be measured with the data of `bench`, or `None`."""
        ...


@dataclass(frozen=True)
class Table:
    """One table of a study: all cells, some of the columns.

    Args:
        title: Title of the table.
        columns: Heading -> column of the measurements.
        digits: Number of decimals.
        best: Whether the largest number is bold in each `"row"` (columns are methods) or each `"column"` (rows are).
        smaller: Columns in which the smallest number is the best.
        unranked: Columns in which no number is better than another.
    """

    title: str
    columns: Mapping[str, str]
    digits: int = 2
    best: Literal["row", "column"] = "row"
    smaller: tuple[str, ...] = ()
    unranked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A claim of the paper about two cells, tested on the same private batches, or about one cell and a number.

    Args:
        claim: The claim in words.
        better: Name of the cell that should be better.
        worse: Name of the other cell; empty if there is a `mark`.
        column: Column that is compared.
        smaller: Whether smaller values are better.
        mark: The number that `better` should pass, in place of another cell.
    """

    claim: str
    better: str
    worse: str
    column: str
    smaller: bool = False
    mark: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells that it is about."""
        return (self.better,) if self.mark is not None else (self.better, self.worse)


@dataclass(frozen=True)
class Correlation:
    """The rank correlation (Spearman) of two columns over the measurements of some cells.

    Args:
        label: Its words on the page.
        first: One column.
        second: The other column.
        cells: Names of the cells that count; all cells of the scale if empty.
    """

    label: str
    first: str
    second: str
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyCurve:
    """One line of a figure: a column over the cells that share a setting.

    Args:
        label: Name in the figure.
        column: Column that is drawn.
        points: Pairs `(horizontal value, cell name)`.
    """

    label: str
    column: str
    points: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Figure:
    """One chart of a study."""

    title: str
    across: str
    up: str
    curves: tuple[StudyCurve, ...]


@dataclass(frozen=True)
class Study:
    """The reproduction of a published table or figure.

    Args:
        name: Name on the command line.
        title: Heading of the page.
        paper: Source of the published values.
        about: Sentences on the question and the measurement.
        cells: Scale -> cells; `quick` takes about one minute, `default` about fifteen.
        repeats: Scale -> number of measurements per cell, each with its own seed.
        tables: Tables of the page.
        figures: Figures of the page.
        reported: Cell name -> column -> published value.
        comparisons: Claims about pairs of cells.
        caveats: Sentences on the differences from the published setting.
        correlations: Rank correlations of two columns.
    """

    name: str
    title: str
    paper: str
    about: str
    cells: Mapping[str, tuple[Cell, ...]]
    repeats: Mapping[str, int]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...] = ()
    reported: Mapping[str, Values] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    caveats: tuple[str, ...] = ()
    correlations: tuple[Correlation, ...] = ()

    @property
    def scales(self) -> tuple[str, ...]:
        """The available scales."""
        return tuple(self.cells)


def identity(cell: Cell) -> str:
    """Return a short hash of the `repr` of a cell, which identifies its results."""
    return hashlib.sha256(repr(cell).encode()).hexdigest()[:16]
