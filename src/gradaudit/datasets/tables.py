"""Rows of a table as private examples: invented people, or the rows of a CSV file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import AuditError
from ..tables import Column, TableLayout
from ..types import Modality
from ._rows import classes_of, column_of, read_cells

INVENTED = 1_000
MOST_CATEGORIES = 200


@dataclass(frozen=True, eq=False)
class TableSource:
    """Encoded rows, and what is known of them.

    Args:
        name: As in the audit file.
        description: Where they come from, in words for the report.
        rows: `[N, D]`, encoded by `layout`.
        layout: The columns.
        labels: `[N]` integers.
        class_names: Name of each class.
        attribution: Credit lines that the licences ask for.
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
        """`(D,)`."""
        return (self.layout.width,)

    def common_except(self, indices: Sequence[int]) -> Tensor | None:
        """The most frequent category and the mean number of every column of the other rows: the control.

        Args:
            indices: Rows to leave out; repetitions count once.

        Returns:
            `[D]`, or `None` where no other row is left.
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
        """The same rows encoded by another layout; raises `AuditError` for other columns or an unknown category."""
        here, there = ([column.name for column in one.columns] for one in (self.layout, layout))
        if here != there:
            raise AuditError(f"table: has the columns {', '.join(here)}, where {', '.join(there)} are wanted.")
        return replace(self, rows=layout.encode(self.layout.decode(self.rows)), layout=layout)

    def fingerprint(self) -> str:
        """SHA-256 over the columns, all rows and all labels: tells one source from another."""
        digest = hashlib.sha256(repr(self.layout).encode() + self.rows.numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.to(torch.int64).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _sum(self) -> Tensor:
        return self.rows.double().sum(0)


@dataclass(frozen=True)
class Tables:
    """Invented people, drawn by a seeded rule, or the rows of a CSV file with a header.

    A column is numeric where all its cells are numbers, categorical otherwise; a cell such as `?` is a category.
    Means, deviations, extremes and categories are those of the whole file, and public.

    Args:
        path: The `.csv` or `.tsv`; a thousand invented people without one.
        label: Name of the column of classes; the last one by default.
        categorical: Columns of numbers that are categories all the same, such as codes.
        ignore: Columns to leave out.
    """

    path: Path | None = None
    label: str | None = None
    categorical: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def open(self) -> TableSource:
        """Read all rows.

        Raises:
            AuditError: No such file or column, no column besides the label, a column of too many categories, or a
                number that is not finite.
        """
        header, cells = read_cells(self.path, "table") if self.path else invented_people(INVENTED)
        path = self.path or Path("the built-in table")
        label = column_of(self.label or header[-1], header, path, "table", "label")
        for key, names in (("categorical", self.categorical), ("ignore", self.ignore)):
            for name in names:
                column_of(name, header, path, "table", key)
        chosen = [i for i, name in enumerate(header) if i != label and name not in self.ignore]
        if not chosen:
            raise AuditError(f"table: {path} has no column besides its label.")
        columns = [make_column(header[i], [row[i] for row in cells], header[i] in self.categorical) for i in chosen]
        layout = TableLayout(tuple(columns))
        labels, names = classes_of([row[label] for row in cells])
        origin = f"the file {self.path.name}" if self.path else "invented people (synthetic, drawn by a seeded rule)"
        return TableSource(
            name="table",
            description=f"{len(cells)} rows of {origin}, {len(columns)} columns",
            rows=layout.encode([[row[i] for i in chosen] for row in cells]),
            layout=layout,
            labels=labels,
            class_names=names,
        )


def make_column(name: str, cells: Sequence[str], categorical: bool = False) -> Column:
    """A column from all its cells: numeric where all are numbers, unless `categorical`.

    Raises:
        AuditError: A number is not finite, or there are more than 200 categories.
    """
    try:
        numbers = None if categorical else np.array(cells, dtype=np.float64)
    except ValueError:
        numbers = None
    if numbers is None:
        categories = tuple(sorted(set(cells)))
        if len(categories) > MOST_CATEGORIES:
            raise AuditError(
                f"table: column {name} has {len(categories)} categories, more than {MOST_CATEGORIES}: it looks like "
                f"names or ids. Leave it out: ignore: [{name}]."
            )
        return Column(name, categories)
    if not np.isfinite(numbers).all():
        raise AuditError(f"table: column {name} holds a number that is NaN or infinite; mend or drop the row.")
    mean, std = float(numbers.mean()), float(numbers.std())
    spread = std if math.isfinite(std) and std > 0 else 1.0
    return Column(name, mean=mean, std=spread, minimum=float(numbers.min()), maximum=float(numbers.max()))


def invented_people(count: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a synthetic table: people who do not exist, with columns that depend on each other.

    Args:
        count: Rows.
        seed: Of the rule; equal seeds give equal tables.

    Returns:
        Three numeric columns (age, hours, savings), four categorical ones, and the label `tenant`.
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
    return header, [[str(cell) for cell in row] for row in zip(*columns, strict=True)]
