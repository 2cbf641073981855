"""The tables of the page: knowledge of the adversary, all findings, and the configuration that reproduces the run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..metrics import METRICS
from ..values.finding import Finding, RunRecord
from . import formatting
from . import wording as words
from .cases import CaseGroup
from .charts import interval_of


@dataclass(frozen=True)
class KnowledgeRow:
    """What one attack needed and was granted under one setting. Oracles that no real adversary has stand apart."""

    attack: str
    paper: str
    setting: str
    needs: str
    needs_oracle: str
    granted: str
    granted_oracle: str
    labels: str
    verified: str


@dataclass(frozen=True)
class FindingTable:
    """All findings as text, and the reasons for missing values.

    Args:
        noun: What the examples are called, in the plural.
        measure: Heading of the columns of the deciding metric, with its unit.
        others: Headings of the columns of the other metrics.
        rows: One cell per column.
        footnotes: Reasons for missing values.
    """

    noun: str
    measure: str
    others: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A named value of the configuration, with remarks."""

    name: str
    value: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """Everything that is needed to reproduce the run."""

    clients: tuple[Entry, ...]
    attacks: tuple[Entry, ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    yaml: str


def knowledge_row(attack: str, members: CaseGroup) -> KnowledgeRow:
    """Return the row for the findings of `attack` under the setting `members`."""
    findings = members.findings
    first = findings[0]
    verified = sum(finding.verified for finding in findings)
    return KnowledgeRow(
        attack,
        first.paper,
        members.label,
        words.realistic(first.needs),
        words.oracle(first.needs),
        words.realistic(first.knowledge),
        words.oracle(first.knowledge),
        _labels(findings),
        formatting.share(verified, len(findings), "update"),
    )


def _labels(findings: Sequence[Finding]) -> str:
    if any(finding.labels_granted for finding in findings):
        return "granted"
    accuracies = [finding.label_accuracy for finding in findings if finding.label_accuracy is not None]
    if not accuracies:
        stated = next((finding.guessed_labels for finding in findings if finding.guessed_labels), ())
        return f"inferred: {words.labels_in_words(stated)}" if stated else "not inferred"
    return f"inferred, {formatting.percent(statistics.fmean(accuracies))} correct"


def finding_table(findings: Sequence[Finding], attacks: dict[str, str], settings: dict[str, str]) -> FindingTable:
    """Return the table with one row per finding; the columns are ordered as in `page.html`.

    Args:
        findings: In the order of the rows.
        attacks: Key of a case -> label of its attack.
        settings: Key of a case -> label of its setting.
    """
    footnotes: list[str] = []
    rows = tuple(_row(finding, attacks[finding.case], settings[finding.case], footnotes) for finding in findings)
    measure = findings[0].measure
    others = tuple(_heading(metric) for metric in measure.others)
    return FindingTable(measure.nouns, f"{measure.name} in {measure.unit}", others, rows, tuple(footnotes))


def _heading(metric: str) -> str:
    return "identified" if metric == "rank" else METRICS[metric].name


def _row(finding: Finding, attack: str, setting: str, footnotes: list[str]) -> tuple[str, ...]:
    if not finding.scored:
        return _unscored(finding, attack, setting, footnotes)
    measure, score = finding.measure, finding.measured
    interval = formatting.bounds(interval_of([finding]), measure)

    def shown(value: float, *, signed: bool = False) -> str:
        return formatting.number(measure.factor * value, measure.digits, signed=signed)

    return (
        setting,
        attack,
        str(finding.repeat + 1),
        str(len(score.per_example)),
        shown(score.mean),
        shown(statistics.median(score.per_example)),
        shown(score.worst_leak),
        shown(finding.measured_control.mean),
        f"{shown(finding.mean_gain, signed=True)} {interval}".strip(),
        *(_other(finding, metric, footnotes) for metric in measure.others),
        "granted" if finding.labels_granted else formatting.percent(finding.label_accuracy),
        formatting.scientific(finding.objective),
        formatting.seconds(finding.seconds),
    )


def _unscored(finding: Finding, attack: str, setting: str, footnotes: list[str]) -> tuple[str, ...]:
    """Return the row of a case without scores; the reason is a footnote."""
    place = (setting, attack, str(finding.repeat + 1), str(finding.examples))
    if finding.unscored:
        why = _footnote(f"Cannot be scored: {finding.unscored}.", footnotes)
        absent = [f"{formatting.MISSING} {why}", *[formatting.MISSING] * (4 + len(finding.measure.others))]
        labels = "granted" if finding.labels_granted else formatting.MISSING
        return (
            *place, *absent, labels, formatting.scientific(finding.objective), formatting.seconds(finding.seconds)
        )  # fmt: skip
    absent = [f"{formatting.MISSING} {_footnote(f'Cannot be judged: {finding.cannot_judge}', footnotes)}"]
    absent += [formatting.MISSING] * (6 + len(finding.measure.others))
    return (*place, *absent, formatting.seconds(finding.seconds))


def _other(finding: Finding, metric: str, footnotes: list[str]) -> str:
    score = finding.scores.get(metric)
    if score is None:
        return _absent(finding, metric, footnotes)
    if metric == "rank":
        return f"{sum(place == 1 for place in score.per_example)} of {len(score.per_example)}"
    return formatting.number(score.mean, 3)


def _absent(finding: Finding, name: str, footnotes: list[str]) -> str:
    reason = finding.scores.why_not.get(name, "")
    if not reason:
        return formatting.MISSING
    return f"{formatting.MISSING} {_footnote(f'{_heading(name)}: {reason}', footnotes)}"


def _footnote(note: str, footnotes: list[str]) -> str:
    """Return the superscript number of a note, which is added if it is new."""
    if note not in footnotes:
        footnotes.append(note)
    return str(footnotes.index(note) + 1).translate(formatting.SUPERSCRIPTS)


def configuration(
    findings: Sequence[Finding], run: RunRecord, attacks: dict[str, str], settings: dict[str, str]
) -> Configuration:
    """Return the configuration of the run.

    Args:
        findings: Findings of the run.
        run: What all of them share.
        attacks: Key of a case -> label of its attack.
        settings: Key of a case -> label of its setting.
    """
    facts = {
        "gradaudit": run.version,
        "examples": run.source,
        "credit": run.attribution,
        "seed": ", ".join(dict.fromkeys(str(finding.seed) for finding in findings)),
        "versions": ", ".join(_pairs(findings)),
    }
    return Configuration(
        clients=_entries(findings, settings, lambda finding: finding.client_value, _client_remarks),
        attacks=_entries(findings, attacks, lambda finding: finding.attack_value, _attack_remarks),
        facts=tuple((name, value) for name, value in facts.items() if value),
        notes=_once(note for finding in findings for note in finding.notes),
        yaml=run.configuration,
    )


def _pairs(findings: Sequence[Finding]) -> tuple[str, ...]:
    return _once(f"{name} {version}" for finding in findings for name, version in finding.versions.items())


def _entries(
    findings: Sequence[Finding],
    labels: dict[str, str],
    value: Callable[[Finding], str],
    remarks: Callable[[Finding], Iterable[str]],
) -> tuple[Entry, ...]:
    members: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        members.setdefault((labels[finding.case], value(finding)), []).append(finding)
    return tuple(
        Entry(name, text, _once(remark for finding in found for remark in remarks(finding)))
        for (name, text), found in members.items()
    )


def _client_remarks(finding: Finding) -> Iterable[str]:
    return (f"{name} did not change the update." for name in finding.no_op_defenses)


def _attack_remarks(finding: Finding) -> Iterable[str]:
    paper = (f"Published as {finding.paper}.",) if finding.paper else ()
    return (*paper, *(f"Differs from its paper: {deviation}" for deviation in finding.deviations))


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
