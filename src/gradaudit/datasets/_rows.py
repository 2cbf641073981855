"""How files of lines and cells are read: shared by texts and tables, private to this room."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import AuditError


def read_lines(path: Path, source: str) -> list[str]:
    """The lines of a UTF-8 text file; raises `AuditError` where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise AuditError(f"{source}: cannot read {path}: {reason} (paths are relative to the audit file).") from error


def read_cells(path: Path, source: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a `.csv` (commas, quotes) or `.tsv` (tabs, no quotes), every row as long as the header.

    Raises:
        AuditError: No such file, no rows, a repeated name in the header, or a row of another length.
    """
    tabs = path.suffix == ".tsv"
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"skipinitialspace": True}
    rows = [row for row in csv.reader(read_lines(path, source), **options) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise AuditError(f"{source}: {path} needs a header and at least one row.")
    header, *cells = [[cell.strip() for cell in row] for row in rows]
    if len(set(header)) < len(header):
        raise AuditError(f"{source}: {path} names a column twice in its header: {', '.join(header)}.")
    for number, row in enumerate(cells, 2):
        if len(row) != len(header):
            raise AuditError(f"{source}: {path}, row {number}: has {len(row)} cells, the header {len(header)}.")
    return header, cells


def column_of(name: str, header: Sequence[str], path: Path, source: str, key: str) -> int:
    """Where a column stands; raises `AuditError` naming those that there are."""
    if name not in header:
        raise AuditError(f"{source}.{key}: {path} has no column {name!r}. It has {', '.join(header)}.")
    return header.index(name)


def classes_of(cells: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels `[N]` and the names of their classes: distinct cells in order, numbers by their value."""
    try:
        names = sorted(set(cells), key=float)
    except ValueError:
        names = sorted(set(cells))
    places = {name: i for i, name in enumerate(names)}
    return torch.tensor([places[cell] for cell in cells]), tuple(names)
