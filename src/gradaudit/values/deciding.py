"""Which findings decide: an attack of a battery that refused to run does not, where others of the battery ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .finding import Finding


def deciding(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that decide a verdict and an exit code.

    A closed form refuses updates that it is not made for, and a battery does without it. Its finding is dropped here if
    another attack of the battery has run on the same update.
    """
    found = list(findings)
    ran = {_update(finding) for finding in found if finding.battery and not finding.cannot_judge}
    return [finding for finding in found if not (_refused(finding) and _update(finding) in ran)]


def refusals(findings: Iterable[Finding]) -> Sequence[str]:
    """Return a sentence for each attack of a battery that refused to run, without those that decide."""
    found = list(findings)
    kept = {id(finding) for finding in deciding(found)}
    dropped = (finding for finding in found if id(finding) not in kept)
    return list(dict.fromkeys(f"{one.battery} without {one.attack}: {_reason(one)}" for one in dropped))


def _refused(finding: Finding) -> bool:
    return bool(finding.battery and finding.optional and finding.cannot_judge)


def _update(finding: Finding) -> tuple[object, ...]:
    return finding.battery, finding.client_value, finding.knowledge, finding.seed, finding.repeat, finding.batch


def _reason(finding: Finding) -> str:
    return finding.cannot_judge.removeprefix(f"{finding.attack}: ")
