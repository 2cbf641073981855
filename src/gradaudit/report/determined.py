"""The section "What the update determines, without any attack": its file in the folder of a run, its table and maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..audit.recoverability_section import RecoverabilitySection
from ..audit.recoverable import Recoverability, recoverability_of, require_simulated
from ..audit.schedule import Schedule
from ..execution.results import read_json
from ..metrics.linearisation import ProductWatch
from ..values.errors import AuditError
from ..values.files import is_file, make_folder, png, write_whole
from ..values.records import checked
from . import formatting
from .album import AGAIN, Album, Picture
from .template import fill

FILE, MAPS, PAGE = "recoverability.json", "recoverability", "recoverability.html"
SHOWN = 8  # images of a batch whose maps are kept
STRIPS = 12  # rows of maps on the page
HEADINGS = (
    "client", "batch", "images", "noise", "mean ratio", "values determined", "below one half", "PSNR at most", "how",
    "time",
)  # fmt: skip

Began = Callable[[Schedule, int], ProductWatch | None]
"""Called with the client and the number of a batch; returns what is called with the progress on it."""


@dataclass(frozen=True)
class DeterminedRun:
    """The contents of `recoverability.json`.

    Args:
        asked: What was asked of each client, by its number.
        rows: One entry for each client, batch and noise level.
    """

    asked: dict[str, dict[str, Any]]
    rows: tuple[Recoverability, ...]


@dataclass(frozen=True)
class MapStrip:
    """The maps of one batch at one noise level, with a heading."""

    heading: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class DeterminedView:
    """The values of the template.

    Args:
        rows: The rows of the table, as text.
        strips: The maps.
        left_out: Number of further maps that are not shown.
        remarks: What was assumed, in sentences.
        bounds: Whether some rows are bounds and not exact.
    """

    rows: tuple[tuple[str, ...], ...]
    strips: tuple[MapStrip, ...]
    left_out: int
    remarks: tuple[str, ...]
    bounds: bool
    headings: tuple[str, ...] = HEADINGS


def determine_into(folder: Path, schedules: Sequence[Schedule], began: Began | None = None) -> None:
    """Compute the recoverability of the clients of a run whose audit file asks for it, and write its file and maps.

    A client that the file holds with the same noise levels, and whose maps are there, is not computed again; where
    nothing asks, nothing is written.

    Args:
        folder: The folder of the run.
        schedules: The cases, client by client.
        began: Called at the start of each batch.

    Raises:
        AuditError: A client is a captured one, its update cannot be differentiated, or a file cannot be used.
    """
    wanted = [(one, found) for one in schedules if (found := asked_of(one)) is not None]
    for schedule, _ in wanted:
        require_simulated(schedule)
    known = read_determined(folder) if wanted else None
    for schedule, section in wanted:
        key, asked = str(schedule.number), section.model_dump(mode="json")
        if known is None or known.asked.get(key) != asked or not _has_maps(folder, known, schedule.number):
            others = [row for row in known.rows if row.number != schedule.number] if known else []
            rows = [*others, *determine(schedule, section, folder, began)]
            rows.sort(key=lambda row: (row.number, row.repeat))
            known = DeterminedRun({**(known.asked if known else {}), key: asked}, tuple(rows))
            write_determined(folder, known)


def _has_maps(folder: Path, known: DeterminedRun, number: int) -> bool:
    return all(is_file(folder / path) for row in known.rows if row.number == number for path in row.maps)


def write_determined(folder: Path, found: DeterminedRun) -> None:
    """Write `recoverability.json`. Raise `AuditError` if it cannot be written."""
    write_whole(folder / FILE, json.dumps(asdict(found), indent=1, allow_nan=False))


def asked_of(schedule: Schedule) -> RecoverabilitySection | None:
    """Return the section `recoverability:` of the audit file of a client, `None` without one."""
    found: RecoverabilitySection | None = getattr(getattr(schedule, "config", None), "recoverability", None)
    return found


def read_determined(folder: Path) -> DeterminedRun | None:
    """Return what the folder of a run holds; `None` without a file. Raise `AuditError` if it is damaged."""
    return read_json(folder / FILE, lambda record: checked(DeterminedRun, record))


def determined_view(found: DeterminedRun | None, album: Album) -> DeterminedView | None:
    """Return the section, or `None` if nothing was computed.

    Raises:
        AuditError: A map is missing or damaged.
    """
    if found is None or not found.rows:
        return None
    drawn = [row for row in found.rows if row.maps]
    remarks = dict.fromkeys(remark for row in found.rows for remark in row.remarks)
    return DeterminedView(
        rows=tuple(map(cells, found.rows)),
        strips=tuple(_strip(row, album) for row in drawn[:STRIPS]),
        left_out=max(0, len(drawn) - STRIPS),
        remarks=tuple(remarks),
        bounds=not all(row.exact for row in found.rows),
    )


def cells(row: Recoverability) -> tuple[str, ...]:
    """Return one row of the table, with the cells of `HEADINGS`."""
    low, high = row.ends
    least = "" if row.exact else "at least "
    values = [(1 - end) * row.pixels for end in (high, low)]
    return (
        row.client,
        str(row.repeat + 1),
        str(row.examples),
        _level(row),
        ratio(low) if row.exact else f"{ratio(low)} to {ratio(high)}",
        f"{_span(*values, exact=row.exact)} of {row.pixels}",
        f"{least}{formatting.percent(row.below_half)}",
        formatting.decibels(row.psnr),
        "exact" if row.exact else f"estimated, ± {ratio(row.error)}",
        formatting.seconds(row.seconds),
    )


def ratio(value: float) -> str:
    """Return a ratio as text: three decimals, or in powers of ten if it is smaller."""
    return formatting.scientific(value) if 0 < value < 0.001 else formatting.number(value, 3)


def write_page(folder: Path, title: str) -> Path:
    """Write `recoverability.html` from the file of a folder, atomically, and return its path.

    Raises:
        AuditError: The file or a map is missing or damaged.
    """
    view = determined_view(read_determined(folder), Album(folder))
    return write_whole(folder / PAGE, fill("recoverability.html", title=title, determined=view))


def to_json(row: Recoverability) -> dict[str, Any]:
    """Return a row for a JSON document."""
    low, high = row.ends
    return {**asdict(row), "low": low, "high": high, "determined": row.determined}


def determine(
    schedule: Schedule, section: RecoverabilitySection, folder: Path | None = None, began: Began | None = None
) -> Iterator[Recoverability]:
    """Yield the recoverability of every batch at every noise level; the maps are kept in `folder`, if one is given.

    Arguments and errors are those of `determine_into`.
    """
    told = None if began is None else (lambda repeat: began(schedule, repeat))
    for place, (row, ratios) in enumerate(recoverability_of(schedule, section, told)):
        stem = f"client{row.number}-batch{row.repeat}-level{place % len(section.noise)}"
        yield row if folder is None else replace(row, maps=tuple(_keep(folder, stem, ratios)))


def _keep(folder: Path, stem: str, ratios: Tensor) -> Iterable[str]:
    """Write the map of each image, the mean over its channels, and yield its path in the folder."""
    make_folder(folder / MAPS, above=False)
    for number, one in enumerate(ratios[:SHOWN]):
        path = f"{MAPS}/{stem}-image{number}.png"
        write_whole(folder / path, png(one.mean(0, keepdim=True)))
        yield path


def _strip(row: Recoverability, album: Album) -> MapStrip:
    try:
        pictures = tuple(album.show(path, f"Map of image {n}") for n, path in enumerate(row.maps, 1))
    except AuditError as error:
        said = str(error).replace(AGAIN, "Restore it, or delete it and run the audit again, which computes it again.")
        raise AuditError(said) from error
    return MapStrip(f"{row.client}, batch {row.repeat + 1}, noise {_level(row)}", pictures)


def _level(row: Recoverability) -> str:
    """Return the noise level as it was given; 0 with the root mean square of the noise that it stands for."""
    return formatting.scientific(row.level) if row.level else f"0 ({formatting.scientific(row.noise)})"


def _span(low: float, high: float, *, exact: bool) -> str:
    return formatting.number(low, 1) if exact else f"{formatting.number(low, 1)} to {formatting.number(high, 1)}"
