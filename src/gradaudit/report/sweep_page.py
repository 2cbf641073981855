"""The page of a sweep: which cells leak, charts over the grid, and the images behind every cell; and its CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audit.sweep_file import value_in_words
from ..data.modalities import kind_of
from ..metrics.psnr import PSNR
from ..values.errors import AuditError
from ..values.files import write_whole
from ..values.finding import Finding, RunRecord
from . import formatting, heat_map
from . import wording as words
from .album import Album
from .cases import CaseGroup, group
from .cost_section import CostSection, cost_sections, settings_of
from .costs import CostSetting
from .provenance import provenance
from .result_tables import Configuration, configuration
from .sweep_cells import Swept, SweptCell, swept
from .sweep_charts import SweepChart, sweep_charts
from .sweep_csv import sweep_csv
from .sweep_sections import CellSection, cell_sections
from .sweep_verdicts import LevelGroup, level_groups, remarks
from .template import fill
from .view import rule_of

PAGE, TABLE = "sweep.html", "sweep.csv"
MOST_ROWS = 1_000  # of the table of all cells
MOST_FAILURES = 20


@dataclass(frozen=True)
class SweepRow:
    """One attack in one cell, as a row of the table of all cells."""

    cell: SweptCell
    attack: str
    batches: int
    numbers: tuple[str, ...]
    verdict: str


@dataclass(frozen=True)
class SweepView:
    """The sections of the page, in order.

    Args:
        title: Title of the page.
        summary: What was swept, in one line.
        bands: Remarks on an unfinished sweep and on failed trials.
        failures: The trials that failed, one line each.
        more_failures: Number of further ones.
        levels: The cells by verdict, worst first.
        remarks: What limits the verdicts, with the cells it concerns.
        assumption: What the adversary knew.
        charts: The charts, one for each quantity.
        costs: What the settings cost, if a federation was trained.
        keys: Key of the grid -> its values in words.
        quantities: Names of the columns of the table.
        rows: The table of all cells.
        total: Number of rows, which exceeds the rows shown if there are many.
        sections: The cells with their images.
        noun: What the examples are called, in the plural.
        rule: The rule of the verdicts.
        configuration: What reproduces the sweep.
        untested: What the sweep does not cover.
        provenance: Hashes for the footer.
        redacted: Whether the run is a redacted copy.
    """

    title: str
    summary: str
    bands: tuple[str, ...]
    failures: tuple[str, ...]
    more_failures: int
    levels: tuple[LevelGroup, ...]
    remarks: tuple[tuple[str, bool], ...]
    assumption: str
    charts: tuple[SweepChart, ...]
    costs: tuple[CostSection, ...]
    keys: tuple[tuple[str, str], ...]
    quantities: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    total: int
    sections: tuple[CellSection, ...]
    noun: str
    rule: str
    configuration: Configuration
    untested: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    redacted: bool


def write_sweep(findings: Sequence[Finding], record: RunRecord, folder: Path) -> Path:
    """Write `sweep.html` and `sweep.csv` into the folder of a sweep, atomically, and return the path of the page.

    Args:
        findings: The findings of all cells so far, none or more.
        record: The record of the sweep, with its grid.
        folder: The folder of the sweep, to which the paths of the images are relative; it must exist.

    Raises:
        AuditError: The folder does not exist, or an image is missing, outside it, or not a PNG.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AuditError(f"sweep: no folder at {folder}. Give the folder of a finished or unfinished sweep.")
    album = Album(folder)
    found = swept(findings, record, album)
    settings = settings_of(found, record, folder)
    page = fill(PAGE, page=sweep_view(found, findings, record, album, settings), signs=heat_map)
    write_whole(folder / TABLE, sweep_csv(found, findings, record.grid, settings))
    return write_whole(folder / PAGE, page)


def sweep_view(
    found: Swept, findings: Sequence[Finding], record: RunRecord, album: Album, settings: Sequence[CostSetting] = ()
) -> SweepView:
    """Return the contents of the page.

    Args:
        found: The cells.
        findings: All findings.
        record: The record of the sweep.
        album: The images of the sweep.
        settings: What its settings cost, if a federation was trained.
    """
    measures = list(dict.fromkeys(finding.measure for finding in found.findings))
    noun = formatting.listed([measure.nouns for measure in measures]) or PSNR.nouns
    costs, untrained = cost_sections(settings)
    rows = list(_rows(found))
    return SweepView(
        title=record.title,
        summary=_summary(found, findings, record),
        bands=(*_bands(found, len(findings), record), *filter(None, [untrained])),
        failures=record.failures[:MOST_FAILURES],
        more_failures=max(0, len(record.failures) - MOST_FAILURES),
        levels=level_groups(found.cells, noun),
        remarks=remarks(found.cells),
        assumption=_assumption(found),
        charts=sweep_charts(found, record.grid, record.zipped) if found.findings else (),
        costs=costs,
        keys=tuple((key, _values(key, values, record)) for key, values in record.grid.items()),
        quantities=tuple(quantity.name for quantity in found.quantities),
        rows=tuple(rows[:MOST_ROWS]),
        total=len(rows),
        sections=cell_sections(found, album, redacted=record.redacted),
        noun=noun,
        rule=" ".join(dict.fromkeys(rule_of(members.findings) for members in _by_modality(found))),
        configuration=_configuration(found, record),
        untested=record.left_out + _untested(found, noun),
        provenance=provenance(found.findings, record),
        redacted=record.redacted,
    )


def _rows(found: Swept) -> Iterable[SweepRow]:
    for cell in found.cells:
        for attack, members in cell.attacks.items():
            intervals = [(quantity, members.interval(quantity)) for quantity in found.quantities]
            numbers = tuple(quantity.sentence(it) if it else formatting.MISSING for quantity, it in intervals)
            said = heat_map.verdict_in_words(cell, members)
            yield SweepRow(cell, attack or members.findings[0].attack, len(members.findings), numbers, said)


def _summary(found: Swept, findings: Sequence[Finding], record: RunRecord) -> str:
    cells = formatting.count(len(found.cells), "cell")
    return " · ".join(filter(None, (record.source, cells, f"{len(findings)} of {_trials(record.planned)}")))


def _bands(found: Swept, done: int, record: RunRecord) -> Iterable[str]:
    if done < record.planned:
        yield f"Unfinished sweep: {done} of {_trials(record.planned)}. Run the same command again to resume."
    if record.failures:
        yield f"{_trials(len(record.failures))} failed. Their cells are judged without them."
    if found.strangers:
        yield f"{formatting.count(found.strangers, 'finding')} of other values than those of the grid: only in {TABLE}."


def _trials(count: int) -> str:
    return formatting.count(count, "trial")


def _values(key: str, values: Sequence[object], record: RunRecord) -> str:
    together = " (together with the other keys of zip)" if key in record.zipped and len(record.zipped) > 1 else ""
    return ", ".join(map(value_in_words, values)) + together


def _by_modality(found: Swept) -> list[CaseGroup]:
    return group(found.findings, lambda finding: str(finding.modality))


def _assumption(found: Swept) -> str:
    told = {words.adversary(finding.knowledge) for finding in found.findings}
    if len(told) > 1:
        return "What the adversary knew differs between the cells: each cell below states it."
    return f"These results hold for {next(iter(told))}." if told else ""


def _untested(found: Swept, noun: str) -> tuple[str, ...]:
    facts: dict[str, str] = {}
    for members in _by_modality(found):
        facts |= kind_of(members.findings[0].modality).open_facts
    return words.untested({name for finding in found.findings for name in finding.knowledge}, noun, facts)


def _configuration(found: Swept, record: RunRecord) -> Configuration:
    attacks = {finding.case: finding.attack for finding in found.findings}
    clients = {finding.case: finding.client for finding in found.findings}
    return configuration(found.findings, record, attacks, clients)
