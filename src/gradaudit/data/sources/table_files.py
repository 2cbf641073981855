"""Rows of a table as private examples: a synthetic table of people, or the rows of a CSV file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ...values.columns import Column, TableLayout
from ...values.errors import AuditError, printable
from ...values.memory import require_memory
from ...values.types import Modality
from ..row_files import NUMBER, Cells, classes_of, column_of, read_cells

INVENTED = 1_000
MOST_CATEGORIES = 200
LARGEST = 1e100  # largest number in a table, as the standard deviation of larger ones overflows
MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "None", "null", "NULL", "Null", "?", "-")
)
"""Cells that usual programs write for a missing value."""

Missing = Literal["category", "drop"]


@dataclass(frozen=True, eq=False)
class TableSource:
    """A source of encoded rows, with their columns and labels.

    Args:
        name: Name of the source in the audit file.
        description: Where the rows come from, in words for the report.
        rows: `[N, D]`, encoded by `layout`.
        layout: The columns.
        labels: `[N]` integers.
        class_names: Name of each class.
        attribution: Credit lines that the licences require.
    """

    modality: ClassVar[Modality] = Modality.TABLE
    name: str
    description: str
    rows: Tensor
    layout: TableLayout
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    attribution: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int]:
        """Shape `(D,)` of an encoded row."""
        return (self.layout.width,)

    def common_except(self, indices: Sequence[int]) -> Tensor | None:
        """Return the control: the most frequent category and the mean number of every column of the other rows.

        Args:
            indices: Rows to omit; repetitions count once.

        Returns:
            `[D]`, or `None` if no other row is left.
        """
        left_out = sorted({range(len(self))[i] for i in indices})
        left = len(self) - len(left_out)
        if left == 0:
            return None
        mean = (self._sum - self.rows[left_out].double().sum(0)) / left
        for column, place in zip(self.layout.columns, self.layout.slices, strict=True):
            if column.categorical:
                mean[place] = torch.nn.functional.one_hot(mean[place].argmax(), column.width).double()
        return mean.float()

    def read_with(self, layout: TableLayout) -> TableSource:
        """Return the rows encoded with another layout; raise `AuditError` if columns or categories do not fit."""
        here, there = ([column.name for column in one.columns] for one in (self.layout, layout))
        if here != there:
            raise AuditError(f"table: has the columns {', '.join(here)}, but needs {', '.join(there)}.")
        return replace(self, rows=layout.encode(self.layout.decode(self.rows)), layout=layout)

    def fingerprint(self) -> str:
        """Return the SHA-256 over the columns, all rows and all labels, which identifies the source."""
        digest = hashlib.sha256(repr(self.layout).encode() + self.rows.numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.to(torch.int64).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _sum(self) -> Tensor:
        return self.rows.double().sum(0)


@dataclass(frozen=True)
class Tables:
    """A synthetic table of people, drawn by a seeded rule, or the rows of a CSV file with a header.

    A column is numeric if all its cells are numbers, and categorical otherwise. A missing cell, such as `?`, `NA` or an
    empty one, is refused unless `missing` says how to treat it. Means, standard deviations, extremes and categories are
    those of the whole file, and public.

    Args:
        path: The `.csv` or `.tsv`; without one, a thousand synthetic people.
        label: Name of the column of classes; the last column by default.
        categorical: Columns of numbers to treat as categories, such as codes.
        ignore: Columns to omit.
        missing: `category` makes missing cells of a categorical column a category of their own, `drop` omits rows with
            a missing cell.
    """

    name: ClassVar[str] = "table"
    path: Path | None = None
    label: str | None = None
    categorical: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    missing: Missing | None = None

    def open(self) -> TableSource:
        """Read all rows, and return the source.

        Raises:
            AuditError: There is no such file or column, or no column besides the label; a cell is missing, a column
                has too many categories or mixes numbers and words, a number is out of range, or labels are not classes.
        """
        table = read_cells(self.path, "table") if self.path else invented_people(INVENTED)
        path = self.path or Path("the built-in table")
        label, chosen = self._columns(table.header, path)
        whole = _whole(table, [*chosen, label], self.missing, path)
        if self.missing == "category":
            _require_classes(whole, label, path)
        names = [table.header[i] for i in chosen]
        cells = [[row[i] for row in whole.rows] for i in chosen]
        columns = [
            make_column(name, column, name in self.categorical, whole.lines)
            for name, column in zip(names, cells, strict=True)
        ]
        layout = TableLayout(tuple(columns))
        labels, classes = classes_of([row[label] for row in whole.rows], table.header[label], "table")
        require_memory(8 * len(labels) * layout.width, f"table: {path}, encoded,", "Use fewer rows or columns.")
        return TableSource(
            name="table",
            description=self._description(whole, len(table.rows) - len(whole.rows), len(columns)),
            rows=layout.encode([[row[i] for i in chosen] for row in whole.rows]),
            layout=layout,
            labels=labels,
            class_names=classes,
        )

    def _columns(self, header: list[str], path: Path) -> tuple[int, list[int]]:
        """Return the positions of the label and of the used columns."""
        if self.missing not in (None, *get_args(Missing)):
            raise AuditError(f"table.missing: should be category or drop. Found {self.missing!r}.")
        label = column_of(self.label or header[-1], header, path, "table", "label")
        for key, names in (("categorical", self.categorical), ("ignore", self.ignore)):
            for name in names:
                column_of(name, header, path, "table", key)
        chosen = [i for i, name in enumerate(header) if i != label and name not in self.ignore]
        if not chosen:
            raise AuditError(f"table: {path} has no column besides its label.")
        return label, chosen

    def _description(self, table: Cells, dropped: int, columns: int) -> str:
        """Return a description of the rows that were read and those that were omitted."""
        file = f"the file {printable(self.path.name)}" if self.path else ""
        origin = file or "invented people (synthetic, drawn by a seeded rule)"
        left_out = f" ({dropped} with a missing cell omitted)" if dropped else ""
        return f"{len(table.rows)} rows of {origin}{left_out}, {columns} columns"


def _whole(table: Cells, used: Sequence[int], rule: Missing | None, path: Path) -> Cells:
    """Return the table after the rule for missing cells; raise `AuditError` if a rule is needed or no row is left."""
    kept = []
    for number, row in enumerate(table.rows):
        gap = next((i for i in used if row[i] in MISSING), None)
        if gap is not None and rule is None:
            raise AuditError(
                f"table: {path}, line {table.lines[number]}, column {table.header[gap]}: {row[gap]!r} is a missing "
                "value. Choose missing: category, or missing: drop to omit such rows."
            )
        if gap is None or rule == "category":
            kept.append(number)
    if not kept:
        raise AuditError(f"table: {path} has no row without a missing cell; omit its empty columns with ignore.")
    return Cells(table.header, [table.rows[i] for i in kept], [table.lines[i] for i in kept])


def _require_classes(table: Cells, label: int, path: Path) -> None:
    """Raise `AuditError` if a row has no label."""
    for row, line in zip(table.rows, table.lines, strict=True):
        if row[label] in MISSING:
            where = f"line {line}, column {table.header[label]}"
            raise AuditError(
                f"table: {path}, {where}: {row[label]!r} is not a class; omit such rows with missing: drop."
            )


def make_column(
    name: str, cells: Sequence[str], categorical: bool = False, lines: Sequence[int] | None = None
) -> Column:
    """Return a column from all its cells: numeric if all are numbers, unless `categorical`.

    Args:
        name: Name of the column.
        cells: The cells, at least one.
        categorical: Whether numbers are categories.
        lines: The line of each cell in the file, for error messages.

    Raises:
        AuditError: A number is out of range, numbers and words are mixed, or there are more than 200 categories.
    """
    count = 0 if categorical else sum(NUMBER.fullmatch(cell) is not None for cell in cells)
    where = lines or range(1, len(cells) + 1)
    if count == len(cells):
        return _numeric(name, cells, where)
    if 2 * count > len(cells):
        place = next(i for i, cell in enumerate(cells) if not NUMBER.fullmatch(cell))
        fix = f"missing: drop or ignore: [{name}]" if cells[place] in MISSING else f"categorical: [{name}]"
        raise AuditError(
            f"table: column {name} contains numbers, but {cells[place]!r} in line {where[place]}. Fix the cell, or "
            f"give {fix}."
        )
    categories = tuple(sorted(set(cells)))
    if len(categories) > MOST_CATEGORIES:
        raise AuditError(
            f"table: column {name} has {len(categories)} categories, more than {MOST_CATEGORIES}: it looks like "
            f"names or ids. Omit it: ignore: [{name}]."
        )
    return Column(name, categories)


def _numeric(name: str, cells: Sequence[str], lines: Sequence[int]) -> Column:
    numbers = np.array([float(cell) for cell in cells])
    large = np.flatnonzero(~(np.abs(numbers) <= LARGEST))
    if len(large):
        found = f"{cells[large[0]]} in line {lines[large[0]]}"
        raise AuditError(
            f"table: column {name} contains {found}, a number that is out of range; fix or remove the row."
        )
    mean, std = float(numbers.mean()), float(numbers.std())
    return Column(name, mean=mean, std=std or 1.0, minimum=float(numbers.min()), maximum=float(numbers.max()))


def invented_people(count: int, seed: int = 0) -> Cells:
    """Return a synthetic table of people who do not exist, whose columns depend on each other.

    Args:
        count: Number of rows.
        seed: Seed of the rule; equal seeds give equal tables.

    Returns:
        Header and rows: three numeric columns (age, hours, savings), four categorical ones, and the label `tenant`.
    """
    draw = np.random.default_rng(seed)
    age = np.clip(draw.normal(44, 14, count), 18, 85).round().astype(int)
    school = draw.choice(["primary", "secondary", "apprenticeship", "college"], count, p=[0.1, 0.35, 0.3, 0.25])
    trade = draw.choice(["farming", "crafts", "office", "health", "transport", "none"], count)
    home = np.where(draw.random(count) < (age - 15) / 90, "couple", draw.choice(["single", "shared"], count))
    region = draw.choice(["north", "east", "south", "west"], count, p=[0.4, 0.3, 0.2, 0.1])
    hours = np.where(trade == "none", 0, np.clip(draw.normal(37, 8, count), 4, 70)).round().astype(int)
    savings = (np.exp(draw.normal(6, 1, count)) * (1 + age / 40) * np.where(school == "college", 2, 1)).round()
    tenant = np.where(draw.random(count) < 1 / (1 + savings / 900), "yes", "no")
    header = ["age", "school", "trade", "home", "region", "hours", "savings", "tenant"]
    columns = (age, school, trade, home, region, hours, savings.astype(int), tenant)
    rows = [[str(cell) for cell in row] for row in zip(*columns, strict=True)]
    return Cells(header, rows, list(range(2, count + 2)))
