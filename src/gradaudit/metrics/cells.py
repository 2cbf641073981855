"""Metrics of a reconstructed row of a table: the share of its cells that are correct."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..values.columns import TableLayout
from ..values.errors import AuditError
from ..values.measures import Compared, Measure, Metric
from ..values.types import Modality

TOLERANCE = 0.319
"""Largest error of a number that counts as correct, in standard deviations of its column (Vero et al., 2023)."""


def cells_right(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """Return which cells are correct: equal categories, and numbers within 0.319 standard deviations of their column.

    This is the rule of TabLeak (Vero et al., 2023, arXiv:2210.01785). The category of a cell is the largest of its
    one-hot positions. A number that is NaN or infinite is wrong, and so is a category with a NaN position.

    Args:
        guess: `[..., D]` encoded rows, aligned with `truth`.
        truth: `[..., D]` encoded rows; the two are broadcast against each other.
        layout: The columns.

    Returns:
        `[..., columns]` booleans.

    Raises:
        AuditError: The width of the rows differs from that of the layout.
    """
    for name, side in (("reconstruction", guess), ("truth", truth)):
        if side.shape[-1] != layout.width:
            raise AuditError(
                f"{name}: rows have {side.shape[-1]} numbers, but the table's columns need {layout.width}."
            )
    found = []
    for column, place in zip(layout.columns, layout.slices, strict=True):
        mine, true = guess[..., place], truth[..., place]
        if column.categorical:
            found.append((mine.argmax(-1) == true.argmax(-1)) & ~mine.isnan().any(-1))
        else:
            found.append((mine - true).abs().squeeze(-1) <= TOLERANCE)
    return torch.stack(found, -1)


def cell_accuracy(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """Return the share of a row's correct cells by `cells_right`: `[..., D]` -> `[...]` float64 in [0, 1]."""
    return cells_right(guess, truth, layout).double().mean(-1)


def row_match(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """Return 1 for a row whose cells are all correct, otherwise 0: `[..., D]` -> `[...]` float64."""
    return cells_right(guess, truth, layout).all(-1).double()


def row_costs(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """Return the cost of assigning each reconstruction to each row: the share of wrong cells.

    Args:
        guess: `[B, D]` encoded rows, in any order.
        truth: `[B, D]` encoded rows.
        layout: The columns.

    Returns:
        `[B, B]` float64 in [0, 1]; a row for each private row, a column for each reconstruction.
    """
    return 1 - cell_accuracy(guess[None], truth[:, None], layout)


def _of(function: Callable[[Tensor, Tensor, TableLayout], Tensor]) -> Callable[[Compared], Tensor]:
    def compute(compared: Compared) -> Tensor:
        assert compared.batch is not None
        assert compared.batch.table is not None
        return function(compared.guess, compared.truth, compared.batch.table)

    return compute


CELLS = Measure(
    metric="cell_accuracy",
    name="cell accuracy",
    noun="row",
    unit="%",
    gain_unit="points",
    factor=100,
    digits=0,
    recovered_gain=0.25,
    recovered=0.9,
    trace_gain=0.25,
    ceiling=0.75,  # from a higher control the gain cannot be reached
    line="trace",
)
CELL_ACCURACY = Metric(
    key="cell_accuracy",
    name="cell accuracy",
    unit="",
    higher_is_better=True,
    meaning="Share of a row's correct cells: equal categories, and numbers within 0.319 standard deviations.",
    paper="arXiv:2210.01785",
    modality=Modality.TABLE,
    compute=_of(cell_accuracy),
    headline=CELLS,
    place=20,
)
ROW_MATCH = Metric(
    key="row_match",
    name="row match",
    unit="",
    higher_is_better=True,
    meaning="1 if every cell of the row is correct, otherwise 0.",
    paper="arXiv:2210.01785",
    modality=Modality.TABLE,
    compute=_of(row_match),
    place=21,
)
