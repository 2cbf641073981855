"""What the commands that run trials share: options on where trials run, and the exit code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..values.errors import AuditError
from ..values.terminal import echo

if TYPE_CHECKING:
    from ..execution import Results
    from ..execution.executors import Executor
    from ..values.finding import Finding, RunRecord

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output and nothing else.")]
Open = Annotated[bool, typer.Option("--open", help="Open the report in the browser when done.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the file, such as attacks.0.stages.0.steps=2000 (repeatable).",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time for all attacks together, such as 90s, 10m or 1.5h; what is cut short is said.",
    ),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where trials run: serial (this process), pool (several processes), ray (a cluster). Results are equal.",
    ),
]
Workers = Annotated[int | None, typer.Option(help="Number of trials at the same time.")]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads of one trial: 1 by default; all cores in an audit without --executor and --workers."),
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="HOST:PORT", help="A running Ray cluster; by default one is started here."),
]
StopOnError = Annotated[
    bool, typer.Option("--stop-on-error", help="Stop at the first trial that fails, instead of after the others.")
]
Shard = Annotated[
    str,
    typer.Option(metavar="K/N", help="Run only the K-th of N parts, on N machines; `gradaudit merge` unites them."),
]


def _name_lpips(file: Path | None) -> None:
    """Tell the metric, also in the processes that are started later, where its weights are."""
    if file is not None:
        if not file.is_file():
            raise AuditError(f"--lpips {file}: there is no such file.")
        os.environ["GRADAUDIT_LPIPS"] = str(file.resolve())


LpipsFile = Annotated[
    Path | None,
    typer.Option(
        "--lpips",
        metavar="FILE",
        callback=_name_lpips,
        expose_value=False,
        help="Weights of AlexNet for the metric LPIPS: torchvision's file, or one of its convolutions alone.",
    ),
]


@dataclass(frozen=True)
class Placement:
    """Where the trials of a command run.

    Args:
        executor: The executor.
        stop_on_error: Whether the first trial that fails stops the run.
        shard: `(k, n)` runs the k-th of n parts.
    """

    executor: Executor
    stop_on_error: bool = False
    shard: tuple[int, int] = (1, 1)


def shard_of(text: str) -> tuple[int, int]:
    """Return `K/N` as a pair. Raise `AuditError` if it is not one, or K is not from 1 to N."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    part, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= part <= parts:
        raise AuditError(f"--shard {text}: write it as K/N with K from 1 to N, such as 2/3.")
    return part, parts


def executor_of(
    name: str | None, workers: int | None, threads: int | None, address: str | None, *, usual: int = 1
) -> Executor:
    """Return the executor of a command's options; `usual` is the number of workers by default."""
    from ..execution import make_executor

    return make_executor(name, workers, threads=threads, address=address, usual=usual)


def print_document(findings: Sequence[Finding], run: RunRecord, **more: Any) -> None:
    """Print the findings and the failures of a run, and `more`, as one JSON document."""
    document = {"findings": [finding.to_json() for finding in findings], "failures": run.failures, **more}
    echo(json.dumps(document, allow_nan=False))


def federation_json(results: Results) -> dict[str, Any]:
    """Return the finished trainings of a run for its JSON document, nothing without a federation."""
    found, wanted = results.federation.results, results.run.trainings
    return {"federation": [found[trial].to_json() for trial in wanted if trial in found]} if wanted else {}


def require_judged(findings: Sequence[Finding], run: RunRecord) -> None:
    """Raise `AuditError` if a case failed or cannot be judged, so that the exit code does not suggest a result."""
    from ..execution.runner import require_complete
    from ..report.gate import unjudged

    require_complete(run.failures, run.planned + len(run.trainings))
    reason = unjudged(findings, run.planned)
    if reason:
        raise AuditError(reason)


def open_in_browser(path: Path, wanted: bool) -> None:
    """Open a page in the browser if that is wanted."""
    if wanted:
        typer.launch(str(path.resolve()))
