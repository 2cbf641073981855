"""The gate of a command: thresholds on what leaks, the JUnit file, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..values.errors import AuditError, AuditInterrupted, in_one_line
from ..values.terminal import echo
from .placing import require_judged

if TYPE_CHECKING:
    from ..values.finding import Finding, RunRecord
    from ..values.thresholds import Threshold
    from ..values.types import Knowledge, Modality

OVER = 1  # exit code if a threshold is reached

FailOver = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-over",
        metavar="MEASURE=VALUE",
        help="Exit with code 1 if the worst example reaches a threshold, such as psnr-gain=6dB, label-accuracy=50%, "
        "identified=1 or recovered=0 (repeatable); docs/gate.md describes every measure.",
    ),
]
JunitFile = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write the cases as JUnit XML, for a pipeline.")
]


@dataclass(frozen=True)
class Gate:
    """What a command compares its findings with.

    Args:
        thresholds: The thresholds, none or more.
        junit: Where the JUnit file is written, or `None`.
    """

    thresholds: tuple[Threshold, ...] = ()
    junit: Path | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is anything to compare or to write."""
        return bool(self.thresholds or self.junit)


NO_GATE = Gate()


def make_gate(
    texts: Sequence[str] | None,
    junit: Path | None,
    in_file: Mapping[str, Any] | None = None,
    shard: tuple[int, int] = (1, 1),
) -> Gate:
    """Return the gate of a command's options; a threshold of the command line replaces that of the audit file.

    Raises:
        AuditError: A threshold is not one, the JUnit file is a folder, or only a part of the run is computed.
    """
    if not (texts or junit or in_file):
        return NO_GATE
    from ..values.thresholds import read_thresholds

    given = read_thresholds(texts or (), "--fail-over")
    kept = {one.measure: one for one in (*read_thresholds(in_file or {}, "fail_over"), *given)}
    if shard[1] > 1:
        raise AuditError(
            "--shard: a threshold or a JUnit file needs the whole run. Leave both out (for fail_over: of the file, add "
            "`--set fail_over={}`), run `gradaudit merge`, and then `gradaudit report RUN --fail-over ...`."
        )
    if junit is not None and junit.is_dir():
        raise AuditError(f"--junit {junit}: is a folder. Name a file.")
    return Gate(tuple(kept.values()), junit)


def require_measures(gate: Gate, modalities: Iterable[Modality], granted: Knowledge | None = None) -> None:
    """Raise `AuditError` if examples of a modality do not have a measure, or it is granted what would be inferred."""
    if not gate.thresholds:
        return
    from ..report.gate import require_measurable
    from ..values.types import Knowledge

    for modality in modalities:
        require_measurable(gate.thresholds, modality, Knowledge(0) if granted is None else granted)


@contextmanager
def errors_in(junit: Path | None) -> Iterator[None]:
    """Write an error that stops a command to its JUnit file too, so that no file of an earlier run suggests a pass."""
    try:
        yield
    except BaseException as error:
        if junit is not None and not junit.is_dir():
            from ..report.junit import junit_of_error, write_junit

            known = isinstance(error, (AuditError, AuditInterrupted))
            with suppress(AuditError):  # the first error is the one to report
                write_junit(junit, junit_of_error(str(error) if known else in_one_line(error)))
        raise


def gate_json(findings: Sequence[Finding], gate: Gate) -> dict[str, Any]:
    """Return the entry `gate` of a command's JSON document; none without thresholds."""
    if not gate.thresholds:
        return {}
    from ..report.gate import weigh

    return {"gate": weigh(findings, gate.thresholds).to_json()}


def conclude(findings: Sequence[Finding], run: RunRecord, gate: Gate, *, as_json: bool = False) -> None:
    """Print the comparison with every threshold, write the JUnit file, and end with the exit code of the gate.

    A threshold that is reached ends the command with exit code 1, also if another case cannot be judged: what leaked
    has leaked. Otherwise whatever was not judged is an error, because it has not passed.

    Raises:
        AuditError: No threshold is reached, but the findings are no complete result.
        typer.Exit: A threshold is reached.
    """
    if not gate.wanted:
        return require_judged(findings, run)
    from ..report.gate import require_complete_judgement, weigh
    from ..report.junit import junit_of, write_junit

    outcome = weigh(findings, gate.thresholds)
    for one in outcome.worst:
        echo(f"{'leak' if one.exceeded else 'gate'}: {one.line}", err=as_json or one.exceeded)
    if gate.junit is not None:
        write_junit(gate.junit, junit_of(findings, run, outcome))
    try:
        require_complete_judgement(findings, outcome, run)
    except AuditError as error:
        if not outcome.exceeded:
            raise
        echo(f"error: {error}", err=True)
    if outcome.exceeded:
        raise typer.Exit(OVER)
    return None
