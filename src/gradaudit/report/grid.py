"""The grid of images: ground truth, reconstruction under each configuration, and control; worst leak first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from . import formatting
from .album import SHOWN_SIZE, Album, Picture
from .cases import CaseGroup, Leak, leaks, severity, worst_per_picture

STRIPS_SHOWN = 24
PAGE_WIDTH = 1152  # CSS pixels
GAP = 16


@dataclass(frozen=True)
class Tile:
    """One image with its heading and the lines below it.

    Args:
        kind: `truth`, `reconstruction` or `control`.
        heading: Line above the image.
        picture: The image, or `None` if the run kept none.
        lines: Lines below the image; the first one is emphasised.
        recovered: Whether it counts as recovered by the rule of the verdict.
    """

    kind: str
    heading: str
    picture: Picture | None
    lines: tuple[str, ...]
    recovered: bool = False


@dataclass(frozen=True)
class Grid:
    """Strips of figures, one per private image.

    Args:
        strips: The strips, worst leak first.
        total: Number of private images, which exceeds the number of strips if only the worst are shown.
        cell: Width of one figure in CSS pixels.
        width: Width of a strip in one row, in CSS pixels.
    """

    strips: tuple[tuple[Tile, ...], ...]
    total: int
    cell: int
    width: int


def grid(columns: Sequence[CaseGroup], album: Album, most: int = STRIPS_SHOWN) -> Grid:
    """Return the grid with one reconstruction per column and at most `most` strips; the columns are not empty."""
    worst = [{leak.key: leak for leak in worst_per_picture(leaks(column.findings, album))} for column in columns]
    peaks: dict[Hashable, Leak] = {}
    for found in worst:
        for key, leak in found.items():
            peaks[key] = max(peaks.get(key, leak), leak, key=severity)
    keys = sorted(peaks, key=lambda key: severity(peaks[key]), reverse=True)
    strips = tuple(
        _strip(peaks[key], [(column, found.get(key)) for column, found in zip(columns, worst, strict=True)], album)
        for key in keys[:most]
    )
    shown = [figure.picture for strip in strips for figure in strip if figure.picture]
    cell = max([SHOWN_SIZE, *(picture.width for picture in shown)])
    across = max(1, min(max(len(strip) for strip in strips), (PAGE_WIDTH + GAP) // (cell + GAP)))
    return Grid(strips, len(keys), cell, across * (cell + GAP) - GAP)


def _strip(peak: Leak, cells: Sequence[tuple[CaseGroup, Leak | None]], album: Album) -> tuple[Tile, ...]:
    attempts = [_reconstruction(column, leak, album) for column, leak in cells if leak]
    return (_truth(peak, album), *attempts, _control(peak, album))


def _truth(leak: Leak, album: Album) -> Tile:
    finding, i = leak.finding, leak.position
    name = finding.picture_names[i] if i < len(finding.picture_names) else _numbered(leak)
    label = (f"label {finding.labels[i]}",) if i < len(finding.labels) else ()
    picture = _shown(finding.pictures.truth, i, f"Private image: {name}", album)
    return Tile("truth", "ground truth", picture, (name, *label))


def _reconstruction(column: CaseGroup, leak: Leak, album: Album) -> Tile:
    finding, i = leak.finding, leak.position
    measure = leak.measure
    lines = [formatting.measured(leak.value, measure)]
    lines.append(f"{formatting.measured(leak.gain, measure, signed=True)} over control")
    ssim = leak.of(finding.scores.ssim)
    if ssim is not None:
        lines.append(f"SSIM {formatting.number(ssim, 2)}")
    if leak.rank is not None:
        lines.append(formatting.rank(leak.rank, finding.gallery))
    if finding.guessed_labels and i < len(finding.guessed_labels):
        lines.append(guessed_label(leak, finding.guessed_labels[i]))
    if len({other.attack_value for other in column.findings}) > 1:
        lines.append(f"by {finding.attack}")
    alt = f"Reconstruction under {column.label}, {', '.join(lines[:2])}"
    picture = _shown(finding.pictures.reconstruction, i, alt, album)
    return Tile("reconstruction", column.label, picture, tuple(lines), leak.recovered)


def _control(leak: Leak, album: Album) -> Tile:
    control = leak.finding.control
    lines = [formatting.measured(leak.of(leak.finding.measured_control), leak.measure)]
    if control.ssim:
        lines.append(f"SSIM {formatting.number(leak.of(control.ssim), 2)}")
    picture = _shown(leak.finding.pictures.control, leak.position, "Control: a guess made without the update", album)
    return Tile("control", "control", picture, tuple(lines))


def guessed_label(leak: Leak, guessed: int) -> str:
    """Return the label that the attack states for one example, and whether it is correct."""
    finding, i = leak.finding, leak.position
    if finding.labels_granted:
        return f"label {guessed}, granted"
    if i < len(finding.labels):
        return f"label {guessed}, {'correct' if guessed == finding.labels[i] else 'wrong'}"
    return f"label {guessed}"


def _numbered(leak: Leak) -> str:
    return f"batch {leak.finding.repeat + 1}, {leak.measure.noun} {leak.position + 1}"


def _shown(paths: Sequence[str], i: int, alt: str, album: Album) -> Picture | None:
    return album.show(paths[i], alt) if i < len(paths) else None
