"""How much of a table's row came back, cell by cell."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..values.columns import TableLayout
from ..values.errors import AuditError
from ..values.measures import Compared, Measure, Metric
from ..values.types import Modality

TOLERANCE = 0.319
"""In standard deviations: how near a number must lie to count as right (Vero et al., 2023)."""


def cells_right(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """Which cells came back: a category exactly, a number to within 0.319 of its column's standard deviation.

    The rule of TabLeak (Vero et al., 2023, arXiv:2210.01785). A category is the largest of its one-hot positions; a
    number that is NaN or infinite is wrong, and so is a category with a position that is NaN.

    Args:
        guess: `[..., D]` encoded rows, aligned with `truth`.
        truth: `[..., D]` encoded rows; the two are broadcast against each other.
        layout: The columns.

    Returns:
        `[..., columns]` booleans.

    Raises:
        AuditError: Rows of another width than the layout's.
    """
    for name, side in (("reconstruction", guess), ("truth", truth)):
        if side.shape[-1] != layout.width:
            raise AuditError(f"{name}: rows of {side.shape[-1]} numbers, but the table's columns take {layout.width}.")
    found = []
    for column, place in zip(layout.columns, layout.slices, strict=True):
        mine, true = guess[..., place], truth[..., place]
        if column.categorical:
            found.append((mine.argmax(-1) == true.argmax(-1)) & ~mine.isnan().any(-1))
        else:
            found.append((mine - true).abs().squeeze(-1) <= TOLERANCE)
    return torch.stack(found, -1)


def cell_accuracy(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """Share of a row's cells that came back, by `cells_right`: `[..., D]` -> `[...]` float64 in [0, 1]."""
    return cells_right(guess, truth, layout).double().mean(-1)


def row_match(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """1 where every cell of a row came back, else 0: `[..., D]` -> `[...]` float64."""
    return cells_right(guess, truth, layout).all(-1).double()


def row_costs(guess: Tensor, truth: Tensor, layout: TableLayout) -> Tensor:
    """What it costs to assign each guess to each row: the share of its cells that would be wrong.

    Args:
        guess: `[B, D]` encoded rows, in any order.
        truth: `[B, D]` encoded rows.
        layout: The columns.

    Returns:
        `[B, B]` float64 in [0, 1]; row: private row; column: guess.
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
    ceiling=0.75,  # above it there is no room for the gain
    line="trace",
)
CELL_ACCURACY = Metric(
    key="cell_accuracy",
    name="cell accuracy",
    unit="",
    higher_is_better=True,
    meaning="Share of a row's cells that came back: a category exactly, a number to 0.319 standard deviations.",
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
    meaning="1 where every cell of the row came back.",
    paper="arXiv:2210.01785",
    modality=Modality.TABLE,
    compute=_of(row_match),
    place=21,
)
