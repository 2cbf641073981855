"""What a study is: the cells of a paper's table or figure, what is measured in each, and what was published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ._bench import Bench

Values = Mapping[str, float | None]
"""Column -> what one measurement gave; `None` where it does not apply."""


class Cell(Protocol):
    """One setting of a study: a frozen dataclass whose `repr` is its identity."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    def measure(self, bench: Bench, seed: int) -> Values:
        """One measurement; raises `AuditError` where it cannot be made."""
        ...

    def missing(self, bench: Bench) -> str | None:
        """Why this cell cannot be measured with what `bench` has, or `None`."""
        ...


@dataclass(frozen=True)
class Table:
    """One table of a study: the same cells, some of the columns.

    Args:
        title: What its numbers are.
        columns: Heading -> column of the measurements.
        digits: Decimals shown.
        best: Whether the largest number is marked in each `"row"` (columns are methods) or each `"column"` (rows are).
        smaller: Columns in which the smallest number is the best.
    """

    title: str
    columns: Mapping[str, str]
    digits: int = 2
    best: Literal["row", "column"] = "row"
    smaller: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A claim of the paper about two cells, tested on the same private batches.

    Args:
        claim: In words.
        better: Name of the cell that should be ahead.
        worse: Name of the other.
        column: In which measurement.
        smaller: Whether less is better.
    """

    claim: str
    better: str
    worse: str
    column: str
    smaller: bool = False


@dataclass(frozen=True)
class StudyCurve:
    """One line of a figure: a column over the cells that share a setting.

    Args:
        label: Its name in the figure.
        column: What is drawn.
        points: `(horizontal value, cell name)`.
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
    """A table or figure that one command makes again.

    Args:
        name: As on the command line.
        title: Heading of its page.
        paper: Where the published figures come from.
        about: What is asked and how it is measured, in plain sentences.
        cells: Scale -> settings; `quick` takes about a minute, `default` about fifteen.
        repeats: Scale -> measurements per cell, each with its own seed.
        tables: What the page tabulates.
        figures: What the page draws.
        reported: Cell name -> column -> published figure.
        comparisons: Claims about pairs of cells.
        caveats: Where our setting differs from the published one, in sentences.
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

    @property
    def scales(self) -> tuple[str, ...]:
        """The sizes it can be run at."""
        return tuple(self.cells)


def identity(cell: Cell) -> str:
    """Short hash of a cell's `repr`, by which results are found again."""
    return hashlib.sha256(repr(cell).encode()).hexdigest()[:16]
