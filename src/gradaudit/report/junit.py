"""A run as JUnit XML, which pipelines show as tests: one test case for each case of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from ..audit.sweep_file import at_in_words
from ..values.characters import visible
from ..values.files import make_folder, write_whole
from ..values.finding import Finding, RunRecord
from .gate import GateOutcome, gate_facts, weigh
from .worst_values import WorstValue

SUITE = "gradaudit"


def junit_of(findings: Sequence[Finding], run: RunRecord, outcome: GateOutcome) -> bytes:
    """Return the run as JUnit XML.

    A case that reaches a threshold, or contributes to a number that does, is a failure. A case that cannot be judged,
    a trial that failed, a case that was not computed and a threshold that could not be checked are errors.

    Args:
        findings: The findings of the run.
        run: The record of the run.
        outcome: The result of the gate.
    """
    root = Xml.Element("testsuite")
    facts = Xml.SubElement(root, "properties")
    for name, value in gate_facts(findings).items():
        Xml.SubElement(facts, "property", name=visible(name), value=visible(str(value)))
    for finding in findings:
        _add_case(root, finding, outcome)
    for line in run.failures:
        _problem(_case(root, SUITE, line.partition(": ")[0]), "error", "TrialFailed", [line])
    for line in outcome.unchecked:
        _problem(_case(root, SUITE, "thresholds"), "error", "ThresholdNotChecked", [line])
    missing = run.planned - len(findings) - len(run.failures)
    if missing > 0:
        line = f"{missing} of {run.planned} cases were not computed."
        _problem(_case(root, SUITE, "unfinished"), "error", "NotComputed", [line])
    return _written(root, sum(finding.seconds for finding in findings))


def junit_of_error(message: str) -> bytes:
    """Return JUnit XML with one error: the run stopped before there was a result."""
    root = Xml.Element("testsuite")
    _problem(_case(root, SUITE, "audit"), "error", "AuditError", [message])
    return _written(root, 0.0)


def write_junit(path: Path, document: bytes) -> Path:
    """Write a document atomically, with the folders above it, and return its path. Raise `AuditError` if it cannot."""
    make_folder(path.parent, option="--junit")
    return write_whole(path, document)


def _add_case(root: Xml.Element, finding: Finding, outcome: GateOutcome) -> None:
    name = f"{finding.attack} batch {finding.repeat + 1}"
    case = _case(root, finding.client, f"{name}, {at_in_words(finding.grid)}" if finding.grid else name)
    case.set("time", f"{max(0.0, finding.seconds):.3f}")
    over = [_own_line(finding, one) for one in outcome.exceeded if finding.case in one.cases]
    if over:
        _problem(case, "failure", "LeakOverThreshold", over)
    elif finding.cannot_judge:
        _problem(case, "error", "CannotBeJudged", [finding.cannot_judge])


def _own_line(finding: Finding, exceeded: WorstValue) -> str:
    """Return what one case has to do with a threshold that the run reaches."""
    own = weigh([finding], [exceeded.threshold]).worst
    if not own or exceeded.finding.case == finding.case:
        return exceeded.line
    return f"{own[0].share} in this case. {exceeded.line}" if own[0].share else own[0].line


def _case(root: Xml.Element, client: str, name: str) -> Xml.Element:
    return Xml.SubElement(root, "testcase", classname=visible(client), name=visible(name))


def _problem(case: Xml.Element, kind: str, reason: str, lines: Sequence[str]) -> None:
    found = Xml.SubElement(case, kind, type=reason, message=visible(lines[0]))
    found.text = "\n".join(map(visible, lines))


def _written(root: Xml.Element, seconds: float) -> bytes:
    """Return the document with the counts that its cases come to."""
    counts = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
    root.set("name", SUITE)
    for name, path in counts.items():
        root.set(name, str(len(root.findall(path))))
    root.set("skipped", "0")
    root.set("time", f"{max(0.0, seconds):.3f}")
    Xml.indent(root)
    document: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
