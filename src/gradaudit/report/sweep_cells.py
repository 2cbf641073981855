"""The findings of a sweep by cells of its grid: which cells leak, which do not, and which cannot be judged."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..audit.sweep_file import MOST_OF_ALL, at_in_words, canonical, combinations, count_cells, value_in_words
from ..metrics import Interval, mean_interval
from ..values.errors import AuditError
from ..values.finding import Finding, RunRecord
from ..values.measures import Measure
from . import formatting
from .album import Album
from .cases import attack_labels, leaks
from .verdict import Severity, Verdict, judge


@dataclass(frozen=True)
class Quantity:
    """A number of a finding that is drawn over the grid.

    Args:
        name: Name with its unit, for headings.
        of: Function from a finding to the number, or `None` if the finding has none.
        concerns: Function from a finding to whether it could have the number.
        factor: Factor from the number to the number shown.
        digits: Number of decimals shown.
        top: Number of the darkest shade, if no number is larger.
        unit: Unit after a number in a sentence.
        line: Number from which an example counts as recovered, with the name of that line, or `None`.
    """

    name: str
    of: Callable[[Finding], float | None]
    concerns: Callable[[Finding], bool]
    factor: float
    digits: int
    top: float
    unit: str
    line: tuple[float, str] | None = None

    def text(self, value: float) -> str:
        """Return a number as it is shown, without its unit; a gain has a sign."""
        return formatting.number(self.factor * value, self.digits, signed=self.line is not None)

    def sentence(self, interval: Interval) -> str:
        """Return a mean with its interval, such as `+12.3 dB [+10.1, +14.5], n = 3`."""
        bounds = ""
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            bounds = f" [{self.text(interval.low)}, {self.text(interval.high)}]"
        count = f"n = {interval.n}".replace(" ", "\N{NO-BREAK SPACE}")
        return f"{self.text(interval.mean)} {self.unit}{bounds}, {count}"


@dataclass(frozen=True)
class SweptAttack:
    """The findings of one attack in one cell, with the verdict on them."""

    findings: tuple[Finding, ...]
    verdict: Verdict

    def interval(self, quantity: Quantity) -> Interval | None:
        """Return the mean of a quantity over the batches, or `None` if no finding has it."""
        values = [value for finding in self.findings if (value := quantity.of(finding)) is not None]
        return mean_interval(values) if values else None


@dataclass(frozen=True)
class SweptCell:
    """One cell of the grid.

    Args:
        number: Number of the cell, from 1.
        at: Key of the grid -> value.
        findings: The findings in this cell, none or more.
        complete: Whether all trials of the cell have a finding.
        attacks: Label of each attack of the sweep that has findings in this cell -> those.
        verdict: The verdict on all findings, or `None` without any.
    """

    number: int
    at: Mapping[str, Any]
    findings: tuple[Finding, ...]
    complete: bool
    attacks: Mapping[str, SweptAttack]
    verdict: Verdict | None

    @property
    def anchor(self) -> str:
        """The id of its section on the page."""
        return f"cell-{self.number}"

    @property
    def words(self) -> str:
        """Its values, such as `defenses.0.std=0.01, seed=1`."""
        return at_in_words(self.at)

    @property
    def values(self) -> tuple[str, ...]:
        """Its values in the order of the grid, each in words."""
        return tuple(map(value_in_words, self.at.values()))


@dataclass(frozen=True)
class Swept:
    """All cells of a sweep.

    Args:
        cells: The cells in the order of the grid.
        attacks: Labels of the attacks, in order; a single empty one if the grid itself names the attack.
        strangers: Number of findings that belong to no cell.
    """

    cells: tuple[SweptCell, ...]
    attacks: tuple[str, ...]
    strangers: int

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All findings of the cells."""
        return tuple(finding for cell in self.cells for finding in cell.findings)

    @cached_property
    def at(self) -> dict[str, SweptCell]:
        """Canonical text of the values of a cell -> the cell."""
        return {canonical(cell.at): cell for cell in self.cells}

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """What can be drawn: the gain by each deciding metric, and the label accuracy if an attack inferred labels."""
        measures = {finding.measure.metric: finding.measure for finding in self.findings}
        labels = any(label_accuracy(finding) is not None for finding in self.findings)
        return (*map(gain_by, measures.values()), *([LABELS] if labels else []))


def swept(findings: Sequence[Finding], record: RunRecord, album: Album) -> Swept:
    """Return the cells of a sweep with their findings.

    Raises:
        AuditError: An example of a finding is missing, or the grid of the record cannot be one.
    """
    lengths = {len(record.grid.get(key, ())) for key in record.zipped}
    if len(lengths) > 1 or count_cells(record.grid, record.zipped) > MOST_OF_ALL:
        raise AuditError("run.json: its grid is damaged. Restore the file, or choose another folder.")
    cells = list(combinations(record.grid, record.zipped))
    members: dict[str, list[Finding]] = {canonical(at): [] for at in cells}
    strangers = 0
    for finding in findings:
        found = members.get(canonical(finding.grid))
        strangers += found is None
        if found is not None:
            found.append(finding)
    placed = {key: _by_position(found) for key, found in members.items()}
    labels = _labels(list(placed.values()))
    expected = _expected(cells, record.planned)
    done = sum(map(len, members.values())) >= record.planned
    made = []
    for number, at in enumerate(cells, 1):
        key = canonical(at)
        known = expected[number - 1] if expected else None
        complete = bool(members[key]) and (done if known is None else len(members[key]) >= known)
        made.append(_cell(number, at, placed[key], labels, complete=complete, album=album))
    return Swept(tuple(made), tuple(labels.values()), strangers)


def judged_gain(finding: Finding) -> float | None:
    """Return the mean gain over the examples that can be judged, or `None` if there are none."""
    if finding.cannot_judge or not finding.scored:
        return None
    kept = [gain for gain, fine in zip(finding.gain, finding.judgeable, strict=True) if fine and math.isfinite(gain)]
    return sum(kept) / len(kept) if kept else None


def label_accuracy(finding: Finding) -> float | None:
    """Return the label accuracy of an attack that inferred the labels, or `None`."""
    found = finding.label_accuracy
    return None if finding.labels_granted or found is None or not math.isfinite(found) else found


def gain_by(measure: Measure) -> Quantity:
    """Return the gain over the control by a deciding metric."""

    def concerns(finding: Finding) -> bool:
        return finding.measure.metric == measure.metric

    what = measure.gain_unit if not measure.prefix else f"{measure.gain_unit} of {measure.name}"
    return Quantity(
        name=f"Gain over the control in {what}",
        of=lambda finding: judged_gain(finding) if concerns(finding) else None,
        concerns=concerns,
        factor=measure.factor,
        digits=measure.digits,
        top=measure.recovered_gain,
        unit=measure.gain_unit,
        line=(measure.recovered_gain, measure.line),
    )


LABELS = Quantity(
    name="Label accuracy in %",
    of=label_accuracy,
    concerns=lambda finding: not finding.labels_granted,
    factor=100,
    digits=0,
    top=1.0,
    unit="%",
)


def _by_position(findings: Sequence[Finding]) -> dict[int, list[Finding]]:
    """Return the position of each attack of a cell -> its findings."""
    names: dict[str, int] = {}
    found: dict[int, list[Finding]] = {}
    labels = attack_labels(findings)
    for finding in findings:
        written = re.search(r"attack(\d+)", finding.case)
        order = names.setdefault(labels[finding.case], len(names))
        found.setdefault(int(written.group(1)) if written else order, []).append(finding)
    return dict(sorted(found.items()))


def _labels(placed: Sequence[Mapping[int, Sequence[Finding]]]) -> dict[int, str]:
    """Return the position of each attack of the sweep -> its label: its name, unless that varies over the grid."""
    names: dict[int, set[str]] = {}
    for cell in placed:
        for position, findings in cell.items():
            names.setdefault(position, set()).update(finding.attack for finding in findings)
    labels: dict[int, str] = {}
    for position, found in sorted(names.items()):
        label = next(iter(found)) if len(found) == 1 else "" if len(names) == 1 else f"attacks.{position}"
        labels[position] = f"{label} (attacks.{position})" if label in labels.values() else label
    return labels


def _expected(cells: Sequence[Mapping[str, Any]], planned: int) -> list[int] | None:
    """Return the number of trials of each cell, or `None` if `planned` does not tell."""
    shares = []
    for at in cells:
        repeats, attacks = at.get("repeats", 1), at.get("attacks", (None,))
        if not isinstance(repeats, int) or not isinstance(attacks, (list, tuple)):
            return None
        shares.append(repeats * len(attacks))
    each, rest = divmod(planned, max(1, sum(shares)))
    return None if rest else [each * share for share in shares]


def _cell(
    number: int,
    at: Mapping[str, Any],
    placed: Mapping[int, Sequence[Finding]],
    labels: Mapping[int, str],
    *,
    complete: bool,
    album: Album,
) -> SweptCell:
    findings = tuple(finding for found in placed.values() for finding in found)
    attacks = {
        labels[position]: SweptAttack(tuple(found), judge(labels[position], found, leaks(found, album)))
        for position, found in placed.items()
    }
    name = f"cell {number}"
    verdict = judge(name, findings, leaks(findings, album)) if findings else None
    return SweptCell(number, at, findings, complete, attacks, verdict)


def level_of(cell: SweptCell) -> Severity | None:
    """Return the level of a cell, or `None` if it has no finding, or is incomplete and nothing was found yet."""
    if cell.verdict is None or (cell.verdict.level is Severity.NOTHING and not cell.complete):
        return None
    return cell.verdict.level
