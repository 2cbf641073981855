"""Texts and rows: ground truth, reconstruction under each configuration, and control; worst leak first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ..metrics import METRICS
from ..values.finding import Finding
from ..values.transcript import TranscriptLine
from . import formatting
from .album import Album
from .cases import CaseGroup, Leak, leaks, severity, worst_per_picture
from .grid import STRIPS_SHOWN, guessed_label

ShownCell = tuple[tuple[str, bool, str], ...]


@dataclass(frozen=True)
class TranscriptPart:
    """One text or row with its heading and scores.

    Args:
        kind: `truth`, `reconstruction` or `control`.
        heading: Name in front of it.
        cells: Its columns. A cell holds strings, each with whether it differs from the ground truth and the confidence
            of the attack. Empty if nothing was kept.
        lines: Scores, starting with the deciding metric.
        recovered: Whether it counts as recovered by the rule of the verdict.
    """

    kind: str
    heading: str
    cells: tuple[ShownCell, ...]
    lines: tuple[str, ...] = ()
    recovered: bool = False


@dataclass(frozen=True)
class Item:
    """One private example with its reconstructions and its control."""

    heading: str
    readings: tuple[TranscriptPart, ...]


@dataclass(frozen=True)
class Readings:
    """The section.

    Args:
        columns: Columns of the table: those of the rows, or one for text.
        measure: Name of the deciding metric.
        items: The examples, worst leak first.
        total: Number of private examples, which exceeds the number of items if only the worst are shown.
    """

    columns: tuple[str, ...]
    measure: str
    items: tuple[Item, ...]
    total: int


def readings(groups: Sequence[CaseGroup], album: Album, most: int = STRIPS_SHOWN) -> Readings:
    """Return at most `most` private texts or rows with one reconstruction per group; the groups are not empty."""
    worst = [{leak.key: leak for leak in worst_per_picture(leaks(members.findings, album))} for members in groups]
    peaks: dict[Hashable, Leak] = {}
    for found in worst:
        for key, leak in found.items():
            peaks[key] = max(peaks.get(key, leak), leak, key=severity)
    keys = sorted(peaks, key=lambda key: severity(peaks[key]), reverse=True)
    items = []
    for key in keys[:most]:
        attempts = [(members, found[key]) for members, found in zip(groups, worst, strict=True) if key in found]
        items.append(_item(peaks[key], attempts, album))
    first = groups[0].findings[0]
    return Readings(_columns(first, album), first.measure.name, tuple(items), len(keys))


def _columns(finding: Finding, album: Album) -> tuple[str, ...]:
    names = album.transcript(finding.transcript).columns if finding.transcript else ()
    return names or (finding.measure.noun,)


def _item(peak: Leak, attempts: Sequence[tuple[CaseGroup, Leak]], album: Album) -> Item:
    finding, i = peak.finding, peak.position
    label = f" · label {finding.labels[i]}" if i < len(finding.labels) else ""
    control = (formatting.measured(peak.of(finding.measured_control), peak.measure),)
    return Item(
        f"batch {finding.repeat + 1}, {peak.measure.noun} {i + 1}{label}",
        (
            TranscriptPart("truth", "ground truth", _cells(peak, "truth", album)),
            *(_reconstruction(members, leak, album) for members, leak in attempts),
            TranscriptPart("control", "control", _cells(peak, "control", album), control),
        ),
    )


def _reconstruction(members: CaseGroup, leak: Leak, album: Album) -> TranscriptPart:
    finding, measure, i = leak.finding, leak.measure, leak.position
    lines = [formatting.measured(leak.value, measure)]
    lines.append(f"{formatting.measured(leak.gain, measure, signed=True)} over control")
    for metric in measure.also:
        value = leak.of(finding.scores.get(metric))
        if value is not None:
            lines.append(f"{METRICS[metric].name} {formatting.number(value, 2)}")
    if finding.guessed_labels and i < len(finding.guessed_labels):
        lines.append(guessed_label(leak, finding.guessed_labels[i]))
    if len({other.attack_value for other in members.findings}) > 1:
        lines.append(f"by {finding.attack}")
    return TranscriptPart(
        "reconstruction", members.label, _cells(leak, "reconstruction", album), tuple(lines), leak.recovered
    )


def _cells(leak: Leak, kind: str, album: Album) -> tuple[ShownCell, ...]:
    finding = leak.finding
    if not finding.transcript:
        return ()
    transcript = album.transcript(finding.transcript)
    lines: tuple[TranscriptLine, ...] = getattr(transcript, kind)
    if leak.position >= len(lines):
        return ()
    line = lines[leak.position]
    differs = line.differs or (False,) * len(line.pieces)
    sure = tuple(formatting.percent(value) for value in line.confidence) or ("",) * len(line.pieces)
    pieces = tuple(zip(line.pieces, differs, sure, strict=True))
    return tuple((piece,) for piece in pieces) if transcript.columns else (pieces,)
