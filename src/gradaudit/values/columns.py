"""The public layout of a table: its columns, and the encoding of rows as model inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from .errors import AuditError

CellValue = str | float
RowValues = tuple[CellValue, ...]


@dataclass(frozen=True)
class Column:
    """One column of a table: categorical if it has categories, numeric otherwise.

    Args:
        name: Name in the header of the table.
        categories: All values of a categorical column, in the order of its one-hot positions; empty for numbers.
        mean: Mean of a numeric column, in its own unit.
        std: Standard deviation of a numeric column, positive.
        minimum: Smallest value of a numeric column.
        maximum: Largest value of a numeric column.
    """

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    minimum: float = float("-inf")
    maximum: float = float("inf")

    @property
    def categorical(self) -> bool:
        """Whether its cells are categories."""
        return bool(self.categories)

    @property
    def width(self) -> int:
        """Number of positions in an encoded row: one per category, or one for a number."""
        return len(self.categories) or 1

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest encoded value: 0 and 1 for a category, standardised otherwise."""
        if self.categorical:
            return 0.0, 1.0
        return (self.minimum - self.mean) / self.std, (self.maximum - self.mean) / self.std

    def encode(self, cell: CellValue) -> list[float]:
        """Return the cell as one-hot values, or as `(x - mean) / std`.

        Raises:
            AuditError: The category is unknown, or the cell of a numeric column is not a finite number.
        """
        if not self.categorical:
            try:
                number = float(cell)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                raise AuditError(f"table: column {self.name} is numeric, but contains {cell!r}.")
            return [(number - self.mean) / self.std]
        if cell not in self.categories:
            raise AuditError(
                f"table: column {self.name} has no category {cell!r}. Known: {', '.join(self.categories)}."
            )
        return [float(cell == category) for category in self.categories]

    def decode(self, values: Tensor) -> CellValue:
        """Return the most likely category, or the number in its own unit, of encoded values `[width]`."""
        if self.categorical:
            return self.categories[int(values.argmax())]
        return float(values[0]) * self.std + self.mean


@dataclass(frozen=True)
class TableLayout:
    """The columns of a table, in order. They are public, because the server's model is built for them.

    An encoded row is `[D]`: each categorical column one-hot, each numeric one standardised to `(x - mean) / std`.

    Args:
        columns: The columns, at least one.
    """

    columns: tuple[Column, ...]

    @cached_property
    def width(self) -> int:
        """Length D of an encoded row."""
        return sum(column.width for column in self.columns)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Positions of each column in an encoded row."""
        ends = accumulate(column.width for column in self.columns)
        return tuple(slice(end - column.width, end) for end, column in zip(ends, self.columns, strict=True))

    def encode(self, rows: Sequence[Sequence[CellValue]]) -> Tensor:
        """Return `N` rows, with one cell per column, as `[N, D]` float32.

        Raises:
            AuditError: A row has another length, a category is unknown, or a numeric column contains text.
        """
        for row in rows:
            if len(row) != len(self.columns):
                raise AuditError(f"table: a row has {len(row)} cells, the table {len(self.columns)} columns.")
        encoded = [
            torch.tensor([column.encode(row[i]) for row in rows], dtype=torch.float32).reshape(len(rows), column.width)
            for i, column in enumerate(self.columns)
        ]
        return torch.cat(encoded, dim=1)

    def decode(self, inputs: Tensor) -> list[RowValues]:
        """Return `[N, D]` as N rows: the most likely categories, and numbers in the units of their columns."""
        values = inputs.detach().cpu()
        return [
            tuple(column.decode(row[place]) for column, place in zip(self.columns, self.slices, strict=True))
            for row in values
        ]
