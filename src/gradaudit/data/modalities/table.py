"""The handling of rows of a table: `[B, D]`, one-hot categories and standardised numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ... import metrics, models
from ...metrics.cells import CELLS
from ...values.columns import CellValue, TableLayout
from ...values.errors import AuditError
from ...values.measures import Compared
from ...values.scores import Scores
from ...values.transcript import Transcript, TranscriptLine
from ...values.types import Batch, Modality, Reconstruction
from ..sources.table_files import TableSource
from ._handling import CONTROL, SHARE, Handling, Matched, ModelOptions, require_batch, require_shape

ROUNDED = 0.01  # largest difference of a number between duplicate rows, in standard deviations


@dataclass(frozen=True)
class TableHandling(Handling):
    """The handling of rows of a table; a batch of rows contains the layout of its columns.

    Args:
        layout: The columns that other sources must have; `None` for any columns.
    """

    modality: ClassVar[Modality] = Modality.TABLE
    rule: ClassVar[str] = (
        SHARE.format(
            noun="row",
            least=100 * CELLS.recovered,
            parts="cells",
            gain=100 * CELLS.recovered_gain,
            trace=f"in one, {100 * CELLS.trace_gain:.0f} points more of the cells are correct than in the control",
        )
        + "A category is correct if it is equal, and a number if it is within 0.319 standard deviations of its column. "
        + CONTROL.format(
            noun="row", control="the most frequent category and the mean number of each column outside the batch"
        )
    )
    layout: TableLayout | None = None

    @classmethod
    def of(cls, source: TableSource, options: ModelOptions) -> tuple[TableHandling, tuple[int, ...]]:
        """Return the handling of rows with the columns of the source."""
        return cls(source.layout), source.shape

    def build(
        self, name: str, source: TableSource, shape: tuple[int, ...], classes: int, options: ModelOptions
    ) -> nn.Module:
        """Return a model of encoded rows."""
        return models.build_table(name, num_classes=classes, features=shape[0])

    def check(self, batch: Batch, model: nn.Module, name: str) -> None:
        """Raise `AuditError` if the batch is not finite `[B, D]` of the layout's width with one-hot categories."""
        require_batch(batch, 2, "encoded rows [B, D]")
        layout = layout_of(batch)
        _check_rows(batch.inputs, layout, "batch")
        for column, place in zip(layout.columns, layout.slices, strict=True):
            if column.categorical and not ((batch.inputs[:, place] == 1).sum(1) == 1).all():
                raise AuditError(f"batch: column {column.name} is not one-hot; encode rows with TableLayout.encode.")

    def check_public(self, public: Tensor, batch: Batch) -> None:
        """Raise `AuditError` if public rows do not have the columns of the private ones."""
        if public.ndim != 2 or not len(public):
            raise AuditError(f"public_data: needs rows [N, {batch.inputs.shape[1]}]. Found {list(public.shape)}.")
        _check_rows(public, layout_of(batch), "public_data")

    def gather(self, source: TableSource, indices: list[int], labels: Tensor) -> Batch:
        """Return the rows at `indices`, with these labels."""
        return Batch(source.rows[indices], labels, Modality.TABLE, table=source.layout)

    def control(self, source: TableSource, batch: Batch, indices: list[int]) -> tuple[Tensor, tuple[str, ...]]:
        """Return the most frequent category and the mean number of every column of the other rows, `[D]`."""
        common = source.common_except(indices)
        if common is not None:
            return common, ()
        return torch.zeros(source.layout.width), ("No row lies outside the batch: the control is zero.",)

    def source_of(self, batch: Batch, others: Tensor | None) -> TableSource:
        """Return a source of the batch's rows, followed by `others` `[N, D]`."""
        if batch.table is None:
            raise AuditError("batches: rows need the columns of their table to be judged; give Batch(..., table=...).")
        own = batch.inputs.cpu()
        rows = own if others is None else torch.cat([own, others])
        return TableSource("batches", "", rows, batch.table)

    def align(self, source: TableSource) -> TableSource:
        """Return the source encoded with these columns; raise `AuditError` if columns or categories are unknown."""
        return source.read_with(self.layout) if self.layout else source

    def duplicates(self, public: Tensor, batch: Batch) -> Tensor:
        """Return which public rows `[N, D]` equal a private row: `[N]` booleans.

        All categories must be equal, and all numbers within 0.01 standard deviations, so that numbers rounded to three
        digits still count as equal. Rates of misses and false alarms: docs/threat-model.md.
        """
        theirs, found = public.cpu(), torch.zeros(len(public), dtype=torch.bool)
        for row in batch.inputs.cpu():
            found |= ((theirs - row).abs() <= ROUNDED).all(1)
        return found

    def match(self, batch: Batch, guess: Reconstruction) -> Matched:
        """Return the assignment with the most correct cells, as TabLeak does."""
        require_shape(batch, guess, "rows")
        rows = guess.inputs.detach().cpu().float()
        order = metrics.assign_at_cost(metrics.row_costs(rows, batch.inputs.cpu(), layout_of(batch)))
        return Matched(rows[order], order)

    def score(self, batch: Batch, inputs: Tensor, distractors: Tensor | None = None) -> Scores:
        """Return all metrics of rows."""
        layout_of(batch)
        return metrics.scores_of(self.modality, Compared(inputs, batch.inputs.cpu(), batch=batch))

    def transcribe(
        self, batch: Batch, reconstruction: Tensor, control: Tensor, confidence: Tensor | None = None
    ) -> Transcript:
        """Return the cells in the units of their columns."""
        truth, layout = batch.inputs.cpu(), layout_of(batch)
        unsure: list[tuple[float, ...]] = [()] * len(truth)
        sure = unsure if confidence is None else [tuple(row.tolist()) for row in confidence.cpu()]

        def lines(rows: Tensor, sure: list[tuple[float, ...]]) -> tuple[TranscriptLine, ...]:
            right = metrics.cells_right(rows, truth, layout)
            return tuple(
                TranscriptLine(tuple(map(written, cells)), tuple((~fine).tolist()), known, tuple(row.tolist()))
                for cells, fine, known, row in zip(layout.decode(rows), right, sure, rows, strict=True)
            )

        names = tuple(column.name for column in layout.columns)
        return Transcript(names, lines(truth, unsure), lines(reconstruction, sure), lines(control, unsure))


def written(cell: CellValue) -> str:
    """Return a cell as text: numbers with four significant digits, whole numbers in full."""
    if isinstance(cell, str):
        return cell
    if not math.isfinite(cell):
        return "n/a"
    nearest = round(cell, 3) if abs(cell) < 1e15 else cell
    return f"{nearest:.0f}" if nearest == int(nearest) else f"{cell:.4g}"


def layout_of(batch: Batch) -> TableLayout:
    """Return the columns of a batch; raise `AuditError` if it has none."""
    if batch.table is None:
        raise AuditError("batch: rows of a table need their columns: Batch(..., table=TableLayout(...)).")
    return batch.table


def _check_rows(rows: Tensor, layout: TableLayout, at: str) -> None:
    if rows.shape[1] != layout.width or not rows.is_floating_point() or not torch.isfinite(rows).all():
        found = f"{rows.dtype} {list(rows.shape)}"
        raise AuditError(f"{at}: rows must be finite floats [B, {layout.width}], as the columns say. Found {found}.")
