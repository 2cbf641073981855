"""From findings to the contents of the page, section by section. The template only arranges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..data.modalities import kind_of
from ..metrics.psnr import PSNR
from ..values.finding import Finding, RunRecord
from . import formatting, verdict
from . import wording as words
from .album import Album
from .cases import CaseGroup, attack_labels, group, leaks, setting_labels
from .charts import Chart, StripPlot, objectives, strips
from .first_screen import MOST_STRIPS
from .grid import Grid, grid
from .officer import OfficerParts, officer_parts
from .provenance import provenance
from .reference_clients import calibration
from .result_tables import Configuration, FindingTable, KnowledgeRow, configuration, finding_table, knowledge_row
from .returned import returned
from .tally import PriorGains
from .transcripts import Readings, readings
from .verdict import Verdict

ATTACKS_SIDE_BY_SIDE = 4
NO_PRIORS: Mapping[int, PriorGains] = MappingProxyType({})


@dataclass(frozen=True)
class View:
    """The sections of the page, in order. All of them are empty if there is no finding.

    Args:
        title: Title of the page.
        summary: What was audited, in one line.
        band: Remark on an unfinished run, or an empty string.
        verdicts: One per configuration of the client, worst first.
        assumptions: Sentences on what the adversary knew.
        rule: The rule of the verdict.
        noun: What the examples are called, in the plural.
        grid: The images, if the examples are images.
        readings: The texts or rows, otherwise.
        returned: What came back where there is no ground truth.
        strips: Gains over the control.
        charts: Objectives during the runs.
        knowledge: What each attack needed and was granted.
        table: Every finding.
        configuration: What reproduces the run.
        untested: What the audit does not cover.
        officer: What stands before the figures for engineers.
        provenance: Hashes for the footer.
        redacted: Whether the run is a redacted copy.
    """

    title: str
    summary: str
    band: str
    configuration: Configuration
    untested: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()
    assumptions: tuple[str, ...] = ()
    rule: str = ""
    noun: str = PSNR.nouns
    grid: Grid | None = None
    readings: Readings | None = None
    returned: Grid | None = None
    strips: StripPlot | None = None
    charts: tuple[Chart, ...] = ()
    knowledge: tuple[KnowledgeRow, ...] = ()
    table: FindingTable | None = None
    officer: OfficerParts | None = None
    provenance: tuple[tuple[str, str], ...] = ()
    redacted: bool = False


def view(
    findings: Sequence[Finding],
    run: RunRecord,
    album: Album,
    priors: Mapping[int, PriorGains] = NO_PRIORS,
    costs: Mapping[str, str] | None = None,
) -> View:
    """Return the contents of the page.

    Args:
        findings: The findings of the run so far, none or more.
        run: What all of them share.
        album: The images and transcripts.
        priors: Number of a client -> what its prior-only control gained.
        costs: Description of a client -> what its federation says of the accuracy.

    Raises:
        AuditError: An image is missing or not a PNG.
    """
    attacks, settings = attack_labels(findings), setting_labels(findings)
    noun = findings[0].measure.nouns if findings else PSNR.nouns
    open_facts = kind_of(findings[0].modality).open_facts if findings else {}
    frame = View(
        title=run.title,
        summary=_summary(findings, run),
        band=_band(len(findings), run.planned),
        configuration=configuration(findings, run, attacks, settings),
        untested=run.left_out
        + words.untested({name for finding in findings for name in finding.knowledge}, noun, open_facts),
        noun=noun,
        provenance=provenance(findings, run),
        redacted=run.redacted,
    )
    return _filled(frame, findings, album, attacks, settings, priors, costs) if findings else frame


def judged_groups(
    findings: Sequence[Finding], album: Album, settings: Mapping[str, str]
) -> list[tuple[Verdict, CaseGroup]]:
    """Return the verdict on each configuration of the client with its findings, the worst first.

    Args:
        findings: The findings of the run.
        album: The images and transcripts, of which only the ground truth is read.
        settings: Key of a case -> label of its configuration.
    """
    judged = [
        (verdict.judge(members.label, members.findings, leaks(members.findings, album)), members)
        for members in group(findings, lambda finding: settings[finding.case])
    ]
    return sorted(judged, key=lambda pair: pair[0].severity, reverse=True)


def _filled(
    frame: View,
    findings: Sequence[Finding],
    album: Album,
    attacks: dict[str, str],
    settings: dict[str, str],
    priors: Mapping[int, PriorGains],
    costs: Mapping[str, str] | None,
) -> View:
    judged = judged_groups(findings, album, settings)
    groups = [members for _, members in judged]
    ordered = [finding for members in groups for finding in members.findings]
    pairs = [
        (attack.label, CaseGroup(members.label, attack.findings))
        for members in groups
        for attack in group(members.findings, lambda finding: attacks[finding.case])
    ]
    scored = _scored(groups)
    columns = picture_columns(scored, attacks) if scored and not frame.redacted else []
    pictures = kind_of(ordered[0].modality).drawn
    return replace(
        frame,
        verdicts=tuple(judgement for judgement, _ in judged),
        configuration=_with_references(frame.configuration, [judgement for judgement, _ in judged]),
        assumptions=_assumptions(groups),
        rule=rule_of(findings),
        noun=ordered[0].measure.nouns,
        grid=grid(columns, album) if columns and pictures else None,
        readings=readings(columns, album) if columns and not pictures else None,
        strips=_strips(pairs, album) if len(pairs) > len(groups) or len(groups) > MOST_STRIPS else None,
        returned=returned(ordered, attacks, settings, album) if pictures else None,
        charts=objectives(ordered, attacks, settings),
        knowledge=tuple(knowledge_row(attack, members) for attack, members in pairs),
        table=finding_table(ordered, attacks, settings),
        officer=officer_parts(judged, attacks, album, priors, costs),
    )


def _with_references(found: Configuration, verdicts: Sequence[Verdict]) -> Configuration:
    """Return the configuration with the list of the reference clients, if a verdict compares with them."""
    compared = any("reference clients" in line for verdict in verdicts for line in verdict.details)
    return replace(found, notes=(*found.notes, calibration().listing)) if compared else found


def _scored(groups: Sequence[CaseGroup]) -> list[CaseGroup]:
    """Return the groups without the cases that have no reconstruction."""
    kept = (CaseGroup(members.label, tuple(f for f in members.findings if f.scored)) for members in groups)
    return [members for members in kept if members.findings]


def _strips(pairs: Sequence[tuple[str, CaseGroup]], album: Album) -> StripPlot | None:
    kept = [(attack, members) for attack, group_ in pairs for members in _scored([group_])]
    return strips([(attack, members, leaks(members.findings, album)) for attack, members in kept]) if kept else None


def picture_columns(groups: Sequence[CaseGroup], attacks: dict[str, str]) -> list[CaseGroup]:
    """Return the columns of the grid: one per setting, or one per attack if there is one setting and few attacks."""
    if len(groups) == 1:
        by_attack = group(groups[0].findings, lambda finding: attacks[finding.case])
        if len(by_attack) <= ATTACKS_SIDE_BY_SIDE:
            return by_attack
    return list(groups)


def _summary(findings: Sequence[Finding], run: RunRecord) -> str:
    batches = sorted({(finding.examples, finding.measure.noun) for finding in findings})
    sizes = [formatting.count(size, noun) for size, noun in batches]
    parts = [run.source, formatting.count(len(findings), "case"), f"batches of {formatting.listed(sizes)}"]
    return " · ".join(part for part in (parts if findings else parts[:2]) if part)


def _band(done: int, planned: int) -> str:
    return f"Unfinished run: {done} of {formatting.count(planned, 'case')}." if done < planned else ""


def _assumptions(groups: Sequence[CaseGroup]) -> tuple[str, ...]:
    told: dict[str, list[str]] = {}
    for members in groups:
        told.setdefault(words.adversary(members.findings[0].knowledge), []).append(members.label)
    if len(told) == 1:
        return (f"This result holds for {next(iter(told))}.",)
    return tuple(
        f"{formatting.listed(labels)}: {'holds' if len(labels) == 1 else 'hold'} for {adversary}."
        for adversary, labels in told.items()
    )


def rule_of(findings: Sequence[Finding]) -> str:
    """Return the rule of the verdict on one or more findings of one modality."""
    kind = kind_of(findings[0].modality)
    ranked = not kind.ranked or all(finding.scores.rank for finding in findings if finding.scored)
    unjudged = any(finding.cannot_judge or not all(finding.judgeable) for finding in findings)
    if not any(finding.scored for finding in findings) and any(finding.unscored for finding in findings):
        return verdict.UNSCORED
    parts = (kind.rule, "" if ranked else verdict.NO_RANK, verdict.UNJUDGED if unjudged else "")
    return " ".join(filter(None, parts))
