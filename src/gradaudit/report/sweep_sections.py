"""The examples behind every cell of a sweep: ground truth, reconstruction and control, within a bound for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.modalities import kind_of
from . import wording as words
from .album import Album
from .cases import CaseGroup, attack_labels, leaks, severity
from .grid import Grid, grid
from .sweep_cells import Swept, SweptCell
from .transcripts import Readings, readings
from .view import picture_columns

MOST_PICTURES = 240  # images, texts or rows on the page
MOST_BYTES = 8_000_000  # of embedded images
MOST_STRIPS = 4  # examples of one cell


@dataclass(frozen=True)
class CellSection:
    """One cell with its examples.

    Args:
        cell: The cell.
        knowledge: What the adversary knew, if that differs between the cells.
        grid: Its images, worst leak first, or `None`.
        readings: Its texts or rows, or `None`.
        elsewhere: Where the examples are that the page does not hold, or an empty string.
    """

    cell: SweptCell
    knowledge: str
    grid: Grid | None
    readings: Readings | None
    elsewhere: str


def cell_sections(found: Swept, album: Album, *, redacted: bool = False) -> tuple[CellSection, ...]:
    """Return a section for each cell with findings, in order; the worst cells show their examples first.

    Args:
        found: The cells.
        album: The images and transcripts.
        redacted: Whether the run is a redacted copy, which has no examples.

    Raises:
        AuditError: An image that is shown is missing, or not a PNG.
    """
    cells = [cell for cell in found.cells if cell.verdict]
    differ = len({words.adversary(finding.knowledge) for finding in found.findings}) > 1
    shown: dict[int, CellSection] = {}
    room, size = MOST_PICTURES, MOST_BYTES
    for cell in sorted(cells, key=lambda cell: cell.verdict.severity if cell.verdict else (), reverse=True):
        told = words.adversary(cell.findings[0].knowledge) if differ else ""
        columns = _columns(cell)
        across = len(columns) + 2
        most = max(1, min(MOST_STRIPS, MOST_PICTURES // (len(cells) * across)))
        fits = columns and room >= across and size > 0 and not redacted
        section = _section(cell, told, columns, album, min(most, room // across)) if fits else None
        if section is None or (section.grid is None and section.readings is None):
            elsewhere = "" if redacted else _elsewhere(cell, columns, album)
            section = CellSection(cell, told, None, None, elsewhere)
        else:
            room -= across * _count(section)
            size -= _size(section)
        shown[cell.number] = section
    return tuple(shown[cell.number] for cell in cells)


def _columns(cell: SweptCell) -> list[CaseGroup]:
    kept = tuple(finding for finding in cell.findings if finding.scored)
    return picture_columns([CaseGroup("reconstruction", kept)], attack_labels(kept)) if kept else []


def _section(cell: SweptCell, told: str, columns: Sequence[CaseGroup], album: Album, most: int) -> CellSection:
    if kind_of(cell.findings[0].modality).drawn:
        found = grid(columns, album, most)
        left_out = found.total - len(found.strips)
        return CellSection(cell, told, found, None, _left_out(left_out, cell))
    texts = readings(columns, album, most)
    return CellSection(cell, told, None, texts, _left_out(texts.total - len(texts.items), cell))


def _left_out(count: int, cell: SweptCell) -> str:
    measure = cell.findings[0].measure
    noun = measure.noun if count == 1 else measure.nouns
    return f"{count} more {noun} of this cell, with smaller leaks, are not shown." if count > 0 else ""


def _elsewhere(cell: SweptCell, columns: Sequence[CaseGroup], album: Album) -> str:
    """Return the file of the worst example of a cell that is not shown."""
    if not columns:
        return "There is no reconstruction."
    worst = max((leak for column in columns for leak in leaks(column.findings, album)), key=severity)
    files = worst.finding.pictures.reconstruction
    path = files[worst.position] if worst.position < len(files) else worst.finding.transcript
    where = f" The worst of this cell is {path} in the folder of the run." if path else ""
    return f"Not shown, to keep this page small.{where}"


def _count(section: CellSection) -> int:
    return len(section.grid.strips) if section.grid else len(section.readings.items) if section.readings else 0


def _size(section: CellSection) -> int:
    tiles = [tile for strip in section.grid.strips for tile in strip] if section.grid else []
    return sum(len(tile.picture.data) for tile in tiles if tile.picture)
