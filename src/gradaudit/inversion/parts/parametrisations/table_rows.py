"""Optimise the encoded rows of a table within the limits of its columns (TabLeak; Vero et al., 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ....protocol.observation import Observation
from ....values.columns import Column, TableLayout
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ..part import Candidate, Parametrisation, require_batch_size


@dataclass(frozen=True)
class TableRows(Parametrisation):
    """Rows of a table, kept within the limits of their columns.

    The variable is `rows` `[S, B, D]`, which is mapped to encoded rows column by column. A categorical column is the
    softmax of its entries over the temperature: the structural prior of TabLeak (arXiv:2210.01785, section 4.1). A
    number is `low + (high - low) sigmoid(row)` between the column's public extremes, as in the authors' code; if these
    are infinite it is the variable itself. Both maps can be turned off, as the paper does for Inverting Gradients.

    Args:
        softmax: Whether to keep categories on the simplex.
        bounds: Whether to keep numbers between their column's extremes.
        temperature: Temperature of the softmax, positive; constant, as in the paper's experiments.
        decide: Whether to report the most likely category, one-hot, and numbers clamped to their extremes; otherwise
            the decoded rows are reported, for a pool that decides later.

    Raises:
        AttackFailed: The temperature is not positive.
    """

    independent: ClassVar[bool] = True
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.TABLE
    softmax: bool = True
    bounds: bool = True
    temperature: float = 1.0
    decide: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise AttackFailed(f"TableRows: temperature must be positive. Found {self.temperature}.")

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return rows uniform over [-1, 1], as in the authors' code, or the rows of the previous stage.

        Raises:
            AttackFailed: The data is not a table.
        """
        layout, size = require_table(seen, self), require_batch_size(seen, self)
        like = seen.update.values[0]
        rows = 2 * torch.rand(seeds, size, layout.width, device=like.device, dtype=like.dtype) - 1
        candidate = TableCandidate(self, layout, rows)
        if previous is not None:
            candidate.variables["rows"] = candidate.encode(previous.decode().detach())
        return candidate


class TableCandidate(Candidate):
    """The rows of a table as a candidate.

    Args:
        of: The parametrisation, which says which maps apply.
        layout: The columns.
        rows: `[S, B, D]`, before the maps.
    """

    def __init__(self, of: TableRows, layout: TableLayout, rows: Tensor) -> None:
        self.of, self.layout = of, layout
        self.variables = {"rows": rows}

    def decode(self) -> Tensor:
        """Return the encoded rows, `[S, B, D]`."""
        rows = self.variables["rows"]
        made = [
            self._made(column, rows[..., place])
            for column, place in zip(self.layout.columns, self.layout.slices, strict=True)
        ]
        return torch.cat(made, -1)

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the variables `[S, B, D]` that decode to `inputs`, or to the nearest possible rows.

        This is the inverse of `decode`.
        """
        found = [
            self._variable(column, inputs[..., place])
            for column, place in zip(self.layout.columns, self.layout.slices, strict=True)
        ]
        return torch.cat(found, -1)

    def reported(self, seen: Observation) -> Tensor:
        """Return `[S, B, D]`: one-hot categories and numbers within their extremes, or the result of `decode`."""
        decoded = self.decode()
        return decided(decoded, self.layout) if self.of.decide else decoded

    def _made(self, column: Column, values: Tensor) -> Tensor:
        if column.categorical:
            return (values / self.of.temperature).softmax(-1) if self.of.softmax else values
        low, high = column.bounds
        return low + (high - low) * values.sigmoid() if self._bounded(column) else values

    def _variable(self, column: Column, values: Tensor) -> Tensor:
        tiny = torch.finfo(values.dtype).eps
        if column.categorical:
            return self.of.temperature * values.clamp_min(tiny).log() if self.of.softmax else values
        low, high = column.bounds
        return torch.logit((values - low) / max(high - low, tiny), eps=tiny) if self._bounded(column) else values

    def _bounded(self, column: Column) -> bool:
        return self.of.bounds and all(map(math.isfinite, column.bounds))


def decided(rows: Tensor, layout: TableLayout) -> Tensor:
    """Return encoded rows as a table can contain them.

    Args:
        rows: `[..., D]`, any numbers.
        layout: The columns.

    Returns:
        `[..., D]`: the largest entry of each categorical column as one-hot, and each number clamped to the column's
        extremes.
    """
    made = []
    for column, place in zip(layout.columns, layout.slices, strict=True):
        values = rows[..., place]
        if column.categorical:
            made.append(one_hot(values.argmax(-1), column.width).to(rows))
        else:
            made.append(values.clamp(*column.bounds))
    return torch.cat(made, -1)


def require_table(seen: Observation, part: object) -> TableLayout:
    """Return the table's columns. Raise `AttackFailed` if the data is not a table."""
    if seen.table is None:
        raise AttackFailed(f"{part!r} needs the columns of a table, but the client trains on {seen.modality}.")
    return seen.table
