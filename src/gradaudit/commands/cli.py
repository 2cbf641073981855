"""The command line: a thin layer over the library. Heavy imports happen inside the commands, so `--help` is fast."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values import terminal
from ..values.errors import AuditError, AuditInterrupted
from ..values.streams import stdout_kept
from .gating import (
    NO_GATE,
    FailOver,
    Gate,
    JunitFile,
    conclude,
    errors_in,
    gate_json,
    make_gate,
    require_measures,
)
from .loading import load_attacks
from .placing import (
    AsJson,
    Budget,
    Changes,
    ExecutorName,
    LpipsFile,
    Open,
    Placement,
    RayAddress,
    Shard,
    StopOnError,
    Threads,
    Workers,
    executor_of,
    federation_json,
    open_in_browser,
    print_document,
    shard_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..audit.schedule import Schedule
    from ..execution import Results

app = typer.Typer(
    name="gradaudit",
    help="Measure what a federated-learning client leaks when it shares a gradient or a model update.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

FinishedRun = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Output folder of an audit, a demo or a sweep; with --redact, also of a study."),
]
Redact = Annotated[
    bool, typer.Option("--redact", help="Write a copy of the folder that holds the figures and nothing private.")
]
RedactedOut = Annotated[
    Path | None, typer.Option("--out", help="Folder of the redacted copy; by default RUN-redacted.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Output folder for results.jsonl, report.html and the reconstructions.")
]


@app.command()
def demo(
    out: Out = None,
    seed: Annotated[int, typer.Option(help="Seed of the photographs, the network and the attack.")] = 13,
    lpips: LpipsFile = None,
    as_json: AsJson = False,
    open_page: Open = False,
) -> None:
    """Reconstruct four photographs from one shared gradient, without and with a defense (under a minute).

    Nothing is downloaded: the photographs come with the dependencies of gradaudit.
    """
    load_attacks()
    from ..audit import demo as builtin
    from ..audit.plan import make_plan

    configs = builtin.demo_configs(seed)
    plans = [make_plan(config, Path.cwd(), number=number) for number, config in enumerate(configs)]
    place = Placement(executor_of(None, None, None, None))
    _finish(_audit(plans, out or Path("runs") / f"demo-{seed}", builtin.TITLE, place), as_json, open_page)


@app.command()
def audit(
    config: Annotated[
        Path, typer.Argument(metavar="AUDIT.YAML", help="The audit file; docs/audit-file.md describes every key.")
    ],
    out: Out = None,
    changes: Changes = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    threads: Threads = None,
    ray_address: RayAddress = None,
    stop_on_error: StopOnError = False,
    shard: Shard = "1/1",
    fail_over: FailOver = None,
    junit: JunitFile = None,
    budget: Budget = None,
    lpips: LpipsFile = None,
    as_json: AsJson = False,
    open_page: Open = False,
) -> None:
    """Run the audit that a file describes: compute an update, attack it, score the reconstruction, write the report.

    The same command with the same folder resumes an interrupted audit, and computes again what failed. Exit code 0:
    the audit finished, whatever leaked, and no threshold of --fail-over is reached. 1: a threshold is reached. 2: an
    error, a case that failed, or a case or a threshold that cannot be judged, with the reason in one line. 130:
    interrupted; finished cases are kept.
    """
    load_attacks()
    from ..audit.budget import seconds_of

    if budget is not None:
        seconds_of(budget, "--budget")
        changes = [*(changes or []), f'budget="{budget}"']
    with stdout_kept(as_json), errors_in(junit):
        parts = shard_of(shard)
        plan, gate = _planned(config, changes or [], fail_over, junit, parts)
        place = Placement(executor_of(executor, workers, threads, ray_address), stop_on_error, parts)
        results = _audit([plan], out or Path("runs") / config.stem, f"Audit of {config.name}", place)
    _finish(results, as_json, open_page, gate)


@app.command()
def report(
    folder: FinishedRun,
    fail_over: FailOver = None,
    junit: JunitFile = None,
    redact: Redact = False,
    out: RedactedOut = None,
    open_page: Open = False,
) -> None:
    """Write the page of an audit, a demo or a sweep again from its results, or a redacted copy of the folder.

    With --fail-over the results are compared with thresholds, and with --junit written as JUnit XML, without computing
    anything; exit codes are then those of `audit`.
    """
    load_attacks()
    from .. import report as page
    from ..execution import read_folder
    from ..report.redaction import redact as redacted
    from ..report.sweep_page import write_sweep

    if out is not None and not redact:
        raise AuditError(f"--out {out}: is the folder of a redacted copy. Add --redact.")
    with errors_in(junit):
        gate = make_gate(fail_over, junit)
        if redact and gate.wanted:
            raise AuditError(
                "--redact: writes a copy and checks no threshold. Give --fail-over and --junit without it."
            )
        findings, run = ([], None) if redact else read_folder(folder)
        require_measures(gate, {finding.modality for finding in findings})
        if run is None:
            path = redacted(folder, out)
        else:
            path = (write_sweep if run.kind == "sweep" else page.write)(findings, run, folder)
    terminal.echo(f"Report: {path}")
    open_in_browser(path, open_page)
    if run is not None and gate.wanted:
        conclude(findings, run, gate)


def _planned(
    config: Path, changes: Sequence[str], fail_over: Sequence[str] | None, junit: Path | None, parts: tuple[int, int]
) -> tuple[Schedule, Gate]:
    """Return the plan of an audit file and its gate, both checked before anything is computed."""
    from ..audit.captured import make_schedule
    from ..audit.config import read_config

    read = read_config(config, changes)
    gate = make_gate(fail_over, junit, read.fail_over, parts)
    plan = make_schedule(read, config.resolve().parent)
    if not len(plan):
        raise AuditError(f"{config}: attacks is an empty list, so there is nothing to run. Name at least one attack.")
    require_measures(gate, {plan.handling.modality}, read.granted)
    return plan, gate


def _audit(plans: Sequence[Schedule], out: Path, title: str, place: Placement) -> Results:
    """Run all cases and return their results; the report is written even if a case raises."""
    from ..execution import Results, describe_run
    from ..report.auditing import carry_out
    from .progress import TerminalListener, result_lines

    errors = terminal.Screen(err=True)
    results = Results(out, describe_run(plans, title))
    if results.findings:
        errors.print(f"{len(results.findings)} of {results.run.planned} cases are already done.")
    with TerminalListener(errors, result_lines) as listener:
        carry_out(
            plans, results, listener, executor=place.executor, stop_on_error=place.stop_on_error, shard=place.shard
        )
    return results


def _finish(results: Results, as_json: bool, open_page: bool, gate: Gate = NO_GATE) -> None:
    """Print the findings and the path of the report. Raise `AuditError` if a case cannot be judged."""
    from ..report import PAGE, in_lines

    path = results.folder / PAGE
    if as_json:
        more = {**gate_json(results.findings, gate), **federation_json(results)}
        print_document(results.findings, results.run, **more)
    else:
        _summary(results)
        for line in in_lines(results.findings, results.folder):
            terminal.echo(line)
        terminal.echo(f"Report: {path.resolve()}")
    open_in_browser(path, open_page)
    conclude(results.findings, results.run, gate, as_json=as_json)


def _summary(results: Results) -> None:
    from .listings import plain_table

    name = results.findings[0].measure.name if results.findings else "PSNR"
    table = plain_table(("client", "attack", "batch", name, "control", "gain", "identified", "labels", "seconds"))
    for finding in results.findings:
        if not finding.scored:
            absent = [*["n/a"] * 4, "granted" if finding.labels_granted else "n/a"]
            table.add_row(finding.client, finding.attack, str(finding.repeat + 1), *absent, f"{finding.seconds:.1f}")
            continue
        rank = finding.scores.rank
        identified = f"{sum(r == 1 for r in rank.per_example)}/{len(rank.per_example)}" if rank else "n/a"
        labels = "granted" if finding.labels_granted else _percent(finding.label_accuracy)
        table.add_row(
            finding.client,
            finding.attack,
            str(finding.repeat + 1),
            finding.measure.text(finding.measured.mean),
            finding.measure.text(finding.measured_control.mean),
            finding.measure.text(finding.mean_gain, signed=True),
            identified,
            labels,
            f"{finding.seconds:.1f}",
        )
    terminal.Screen().print(table)


def _percent(fraction: float | None) -> str:
    return "n/a" if fraction is None else f"{fraction:.0%}"


@cache
def _all_commands() -> typer.Typer:
    """Return the app with all commands; they are registered once per process."""
    from .. import commands

    commands.add_to(app)
    return app


def main() -> None:
    """Entry point of the `gradaudit` command."""
    # With other work on the same cores, threads that spin while they wait make an attack 15 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with terminal.attended(), terminal.usage():
            code = _all_commands()(standalone_mode=False)
    except AuditError as error:
        sys.exit(_say(f"error: {error}", 2))
    except AuditInterrupted as stop:
        sys.exit(_say(str(stop), 130))
    except KeyboardInterrupt:
        code = 130
    sys.exit(_say("interrupted.", 130) if code == 130 else code)


def _say(message: str, code: int) -> int:
    terminal.echo(" ".join(message.split()), err=True)
    return code
