"""Reading of text files and tables of cells, shared by the text and table sources; private to this package."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..values.errors import AuditError
from ..values.memory import require_memory

MOST_COLUMNS = 10_000
MOST_CLASSES = 200
FEW_CLASSES = 20  # number of classes that is accepted even if there are as few rows
EXPANSION = 20  # bytes of memory per byte of a file that is split into cells
SHOWN = 20
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A number in plain notation: without thousands separators, hexadecimal digits, other scripts, or `inf`."""


class Cells(NamedTuple):
    """A file of cells.

    Args:
        header: Names of the columns, all different.
        rows: Rows with one cell per column, without surrounding blanks.
        lines: For each row, the line of the file on which it ends.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_text(path: Path, source: str) -> str:
    """Return the text of a UTF-8 file without its byte order mark. Raise `AuditError` if it is not UTF-8."""
    try:
        if path.exists() and not path.is_file():  # a device may be endless
            raise AuditError(f"{source}: cannot read {path}: it is no file.")
        require_memory(EXPANSION * path.stat().st_size, f"{source}: {path}", "Take a part of it.")
        data = path.read_bytes()
    except OSError as error:
        raise AuditError(
            f"{source}: cannot read {path}: {error.strerror} (paths are relative to the audit file)."
        ) from error
    try:
        text = data.decode("utf-8-sig")
        place = data.find(b"\0")
    except UnicodeDecodeError as error:
        place = error.start
    if place >= 0:
        line = data.count(b"\n", 0, place) + 1
        raise AuditError(f"{source}: cannot read {path}: not UTF-8 text, from line {line}; save it as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_cells(path: Path, source: str) -> Cells:
    """Return the cells of a `.csv` (commas, quotes) or `.tsv` (tabs, no quotes) file; blank lines are skipped.

    Raises:
        AuditError: The file does not exist or has no rows, a column has no name or a duplicate one, the header consists
            of numbers, a row has another length, a quote is not closed, or there are more than 10 000 columns.
    """
    tabs = path.suffix.lower() == ".tsv"
    options: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"skipinitialspace": True}
    reader = csv.reader(io.StringIO(read_text(path, source), newline=""), strict=True, **options)
    header: list[str] = []
    found = Cells(header, [], [])
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if len(cells) < 2 and not any(cells):
                continue
            if not header:
                header += cells
                _require_header(header, path, source)
            elif len(cells) != len(header):
                here = f"{path}, line {reader.line_num}"
                raise AuditError(f"{source}: {here}: has {len(cells)} cells, the header {len(header)}.")
            else:
                found.rows.append(cells)
                found.lines.append(reader.line_num)
    except csv.Error as error:
        raise AuditError(f"{source}: {path}, line {reader.line_num}: {error}; fix its quotes.") from error
    if not found.rows:
        raise AuditError(f"{source}: {path} needs a header and at least one row.")
    return found


def _require_header(header: Sequence[str], path: Path, source: str) -> None:
    if len(header) > MOST_COLUMNS:
        raise AuditError(f"{source}: {path} has {len(header)} columns, more than {MOST_COLUMNS}; take fewer of them.")
    if "" in header:
        place = header.index("") + 1
        raise AuditError(f"{source}: {path}: column {place} has no name; name it, or write the file without an index.")
    if len(set(header)) < len(header):
        twice = next(name for i, name in enumerate(header) if name in header[:i])
        raise AuditError(f"{source}: {path} names a column twice in its header: {twice}.")
    if all(NUMBER.fullmatch(name) for name in header):
        raise AuditError(f"{source}: {path} needs a header; its first row is {some_of(header)}.")


def column_of(name: str, header: Sequence[str], path: Path, source: str, key: str) -> int:
    """Return the position of a column. Raise `AuditError` with the known columns if it does not exist."""
    if name not in header:
        raise AuditError(f"{source}.{key}: {path} has no column {name!r}. It has {some_of(header)}.")
    return header.index(name)


def classes_of(cells: Sequence[str], column: str, source: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels `[N]` and the names of their classes: the distinct cells in order, numbers by value.

    Args:
        cells: The label of each example.
        column: Name of the column.
        source: Name for error messages.

    Raises:
        AuditError: The column looks like a measurement or like names and ids, rather than classes.
    """
    numbers = all(NUMBER.fullmatch(cell) for cell in cells)
    keys: Sequence[Any] = list(map(float, cells)) if numbers else cells
    order = sorted(set(keys))
    fix = f"Name the column of the classes: {source} label: NAME."
    if numbers and any(key % 1 for key in order):
        part = next(key for key in order if key % 1)
        raise AuditError(f"{source}: the label column {column} holds {part:g}, so it is a measurement. {fix}")
    if len(order) > MOST_CLASSES or len(order) > max(FEW_CLASSES, len(cells) // 2):
        found = f"{len(order)} different values in {len(cells)} rows"
        raise AuditError(f"{source}: the label column {column} holds {found}, so it is no column of classes. {fix}")
    places = {key: i for i, key in enumerate(order)}
    names = dict(zip(reversed(keys), reversed(cells), strict=True))  # of equal numbers, the first notation
    return torch.tensor([places[key] for key in keys]), tuple(names[key] for key in order)


def some_of(names: Sequence[str]) -> str:
    """Return the first twenty names, and the number of further ones."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
