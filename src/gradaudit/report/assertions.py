"""The assertion for test suites: nothing leaks above a threshold."""

from __future__ import annotations

from collections.abc import Iterable

from ..metrics.psnr import PSNR
from ..values.errors import AuditError
from ..values.finding import Finding, RunRecord
from ..values.thresholds import COUNTED, LABEL_ACCURACY, Threshold, gain_name, read_threshold
from ..values.validation import brief
from . import formatting
from .gate import check, worst_verdict
from .outcome import Run
from .verdict import in_words
from .worst_values import WorstValue


def assert_no_leak(
    result: Run | Finding | Iterable[Finding],
    *,
    psnr_gain_db: float | None = None,
    token_accuracy_gain: float | None = None,
    cell_accuracy_gain: float | None = None,
    label_accuracy: float | None = None,
    identified: int | None = None,
    recovered: int | None = None,
) -> None:
    """Assert that no attack reaches a threshold, by the worst example over all attacks, clients and batches.

    Without a threshold, the gain of no example may reach that of a recovered one: 6 dB for images, 0.25 for texts and
    rows.

    Args:
        result: A run, or findings.
        psnr_gain_db: Gain of an image over the control, in dB.
        token_accuracy_gain: Gain of a text over the control, as a fraction.
        cell_accuracy_gain: Gain of a row over the control, as a fraction.
        label_accuracy: Fraction of the labels of one case that are inferred correctly.
        identified: Number of images identified in the gallery, for one client; 0 allows none.
        recovered: Number of recovered examples, for one client; 0 allows none.

    Raises:
        AssertionError: A threshold is reached; the text is the verdict, and the worst example with its scores. Or none
            is reached, but a case failed or cannot be judged, which is not a sign that nothing leaks.
        AuditError: A threshold is out of range.

    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10)))
    >>> batch = ga.Batch(torch.rand(1, 3, 4, 4), torch.tensor([3]))
    >>> ga.assert_no_leak(ga.run(client, batch, "dlg", ["priors", "LABELS"]), psnr_gain_db=6)
    Traceback (most recent call last):
    AssertionError: no defense: Recognisable: 1 of 1 image was recovered ...
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    given = {
        "psnr-gain": psnr_gain_db,
        "token-accuracy-gain": token_accuracy_gain,
        "cell-accuracy-gain": cell_accuracy_gain,
        LABEL_ACCURACY: label_accuracy,
        **dict(zip(COUNTED, (identified, recovered), strict=True)),
    }
    named = {name: value for name, value in given.items() if value is not None}
    limits = [read_threshold(name, value, f"assert_no_leak: {name}") for name, value in named.items()]
    findings, record = _found(result)
    try:
        reached = check(findings, limits or _usual(findings), record)
    except AuditError as error:
        raise AssertionError(f"it cannot be asserted that nothing leaks: {error}") from None
    if reached:
        raise AssertionError("\n".join((in_words(worst_verdict(findings)), *map(_detailed, reached))))


def _found(result: Run | Finding | Iterable[Finding]) -> tuple[tuple[Finding, ...], RunRecord | None]:
    if isinstance(result, Run):
        return result.findings, result.record
    findings = (result,) if isinstance(result, Finding) else tuple(result)
    wrong = next((one for one in findings if not isinstance(one, Finding)), None)
    if wrong is not None:
        raise AuditError(f"assert_no_leak: should get a gradaudit.Run or findings. Found {brief(wrong)}.")
    return findings, None


def _usual(findings: Iterable[Finding]) -> list[Threshold]:
    """Return the gain at which an example counts as recovered, for every modality of the findings."""
    measures = dict.fromkeys(finding.measure for finding in findings)
    return [Threshold(gain_name(measure), measure.recovered_gain) for measure in measures or (PSNR,)]


def _detailed(worst: WorstValue) -> str:
    """Return a comparison with the scores of its example."""
    if worst.example is None:
        return worst.line
    finding, measure, i = worst.finding, worst.finding.measure, worst.example
    scores = [
        f"{measure.name} {formatting.measured(finding.measured.per_example[i], measure)}",
        f"control {formatting.measured(finding.measured_control.per_example[i], measure)}",
    ]
    if finding.scores.rank is not None:
        scores.append(formatting.rank(finding.scores.rank.per_example[i], finding.gallery))
    return f"{worst.line} Its scores: {', '.join(scores)}."
