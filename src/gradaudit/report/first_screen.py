"""The first screen: what the result means, the worst example, all gains, and the levels of assumption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..data.modalities import kind_of
from ..metrics import Interval
from . import formatting, strip_plot
from .album import Album
from .cases import CaseGroup, severity
from .grid import Tile, grid
from .levels import LevelResult, level_results, not_audited
from .tally import Tally
from .transcripts import Item, readings
from .verdict import Severity

MOST_STRIPS = 4  # configurations whose gains are on the first screen
MOST_COLUMNS = 8  # of a table's row
MOST_PIECES = 24  # of a text

MEANING = {
    Severity.RECOGNISABLE: "What it means: whoever receives the update can obtain private {nouns} from it.",
    Severity.TRACES: "What it means: parts of the private {nouns} can be told from the update. No whole one came back.",
    Severity.UNKNOWN: "What it means: this audit does not show whether the update reveals private {nouns}.",
    Severity.NOTHING: "What it means: these attacks did not get the private {nouns} back. Another attack might.",
}


@dataclass(frozen=True)
class WorstExample:
    """The private example that leaked most, with its closest reconstruction and the control.

    Args:
        heading: Which client and attack it comes from.
        tiles: Its images, or empty.
        item: Its texts or rows, or `None`.
        columns: Names of the columns of a row.
        more: Number of further columns or tokens, which are not shown.
        pieces: Most tokens that are shown.
    """

    heading: str
    tiles: tuple[Tile, ...] = ()
    item: Item | None = None
    columns: tuple[str, ...] = ()
    more: int = 0
    pieces: int = MOST_PIECES


@dataclass(frozen=True)
class GainRow:
    """The gains of one configuration as a strip, with their figures in words."""

    setting: str
    recovery: str
    identification: str
    strip: Markup
    mean: str
    bounds: str


@dataclass(frozen=True)
class GainPlot:
    """The strips of all configurations on one axis, and what their grey bands are, one sentence for each kind."""

    rows: tuple[GainRow, ...]
    head: Markup
    foot: Markup
    legend: tuple[str, ...]


@dataclass(frozen=True)
class FirstScreen:
    """What a reader sees first, below the verdicts.

    Args:
        meaning: What the worst verdict means, in one sentence.
        levels: The levels of assumption with their results.
        open_levels: The levels that were not audited, or an empty string.
        worst: The worst example, if it was kept.
        gains: Gains of all examples, one strip for each configuration, or `None`.
        left_out: Number of configurations whose strips are only below.
    """

    meaning: str
    levels: tuple[LevelResult, ...]
    open_levels: str
    worst: WorstExample | None
    gains: GainPlot | None
    left_out: int


def first_screen(found: Sequence[Tally], attacks: Mapping[str, str], album: Album) -> FirstScreen:
    """Return the first screen.

    Args:
        found: The configurations, worst first; at least one.
        attacks: Key of a case -> label of its attack.
        album: The images and transcripts.
    """
    judged = [tally for tally in found if tally.worst]
    return FirstScreen(
        MEANING[found[0].verdict.level].format(nouns=found[0].measure.nouns),
        level_results(found),
        not_audited(found),
        _worst(judged, attacks, album) if judged else None,
        _gains(judged[:MOST_STRIPS]) if judged else None,
        max(0, len(judged) - MOST_STRIPS),
    )


def _worst(judged: Sequence[Tally], attacks: Mapping[str, str], album: Album) -> WorstExample | None:
    tally = max(judged, key=lambda one: severity(one.worst[0]))
    finding = tally.worst[0].finding
    several = len({tally.label for tally in judged}) > 1
    heading = f"{tally.label}, {attacks[finding.case]}" if several else attacks[finding.case]
    column = CaseGroup("reconstruction", (finding,))
    if kind_of(finding.modality).drawn:
        tiles = grid([column], album, 1).strips[0] if finding.pictures.reconstruction else ()
        return WorstExample(heading, tiles) if tiles else None
    if not finding.transcript:
        return None
    shown = readings([column], album, 1)
    item = shown.items[0]
    length = max(len(_pieces(item, number)) for number in range(len(item.readings)))
    most = MOST_COLUMNS if len(shown.columns) > 1 else MOST_PIECES
    columns = shown.columns[:most] if len(shown.columns) > 1 else ()
    return WorstExample(heading, item=item, columns=columns, more=max(0, length - most))


def _pieces(item: Item, number: int) -> Sequence[object]:
    """Return the cells of a row, or the tokens of a text."""
    cells = item.readings[number].cells
    return cells[0] if len(cells) == 1 else cells


def _gains(judged: Sequence[Tally]) -> GainPlot:
    """Return the gains with the threshold and, for each configuration, the band of what needs no update."""
    measure = judged[0].measure
    scale, line = measure.factor, measure.factor * measure.recovered_gain
    bands = [tally.band for tally in judged]
    ends = [scale * end for band in bands if band for end in (band.low, band.high)]
    axis = strip_plot.axis_for([*(scale * leak.gain for tally in judged for leak in tally.worst), *ends], line)
    rows = []
    for tally, band in zip(judged, bands, strict=True):
        mean = tally.interval
        shown = Interval(scale * mean.mean, scale * mean.low, scale * mean.high, mean.n)
        gains, marked = [scale * leak.gain for leak in tally.worst], [leak.recovered for leak in tally.worst]
        where = (scale * band.low, scale * band.high) if band else None
        drawn = strip_plot.strip(gains, marked, shown, axis, line, measure, where)
        average, bounds = formatting.measured(mean.mean, measure, signed=True), formatting.bounds(mean, measure)
        rows.append(GainRow(tally.label, tally.recovery, tally.identification, drawn, average, bounds))
    legend = tuple(_legend(judged))
    return GainPlot(tuple(rows), strip_plot.head(axis, line, measure), strip_plot.foot(axis, measure), legend)


def _legend(judged: Sequence[Tally]) -> Iterator[str]:
    """Yield what the grey bands are, with the names of their configurations where several kinds differ."""
    kinds: dict[str, list[str]] = {}
    for tally in judged:
        if tally.band is not None:
            kinds.setdefault(tally.band.about, []).append(tally.label)
    for about, labels in kinds.items():
        whose = f" of {formatting.listed(labels)}" if len(kinds) > 1 else ""
        yield f"Grey band{whose}: {about}."
