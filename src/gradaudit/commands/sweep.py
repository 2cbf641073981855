"""`gradaudit sweep`: one audit for each cell of a grid of values, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..values.streams import stdout_kept
from ..values.terminal import Screen, echo
from .loading import load_attacks
from .placing import (
    AsJson,
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
    require_judged,
    shard_of,
)

if TYPE_CHECKING:
    from ..audit.sweep_file import SweepFile
    from ..execution import Results
    from ..execution.sweep_jobs import SweepPlan

SweepYaml = Annotated[
    Path, typer.Argument(metavar="SWEEP.YAML", help="An audit file with a grid of values; docs/sweep.md describes it.")
]
SweepOut = Annotated[Path | None, typer.Option("--out", help="Output folder for trials.jsonl, sweep.html, sweep.csv.")]
Yes = Annotated[bool, typer.Option("--yes", help="Run a grid of more than 10 000 cells.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every cell, print the number of trials, and stop.")]
CHECKED = 100  # cells from which their check is shown


def add_to(app: typer.Typer) -> None:
    """Register the command with `app`."""
    app.command("sweep")(sweep)


def sweep(
    file: SweepYaml,
    out: SweepOut = None,
    changes: Changes = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    threads: Threads = None,
    ray_address: RayAddress = None,
    stop_on_error: StopOnError = False,
    shard: Shard = "1/1",
    lpips: LpipsFile = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    open_page: Open = False,
) -> None:
    """Run an audit file for every combination of the values in its `grid:`, and draw what leaks over the grid.

    The same command with the same folder resumes an interrupted sweep and computes again what failed. If the grid has
    grown, only its new cells are computed. By default, one process per core runs. Exit codes are those of `audit`.
    """
    load_attacks()
    from ..audit.sweep_file import read_sweep
    from ..execution import usual_workers
    from ..execution.sweep_jobs import findings_of

    with stdout_kept(as_json):
        found = executor_of(executor, workers, threads or 1, ray_address, usual=usual_workers("auto"))
        place = Placement(found, stop_on_error, shard_of(shard))
        plan = _checked(read_sweep(file, changes or [], many=yes), file)
        if dry_run:
            echo(f"{len(plan.settings)} cells, {plan.record.planned} trials.")
            return
        results, page = _run(plan, out or Path("runs") / file.stem, place)
    _finish(plan, results, page, as_json)
    open_in_browser(page, open_page)
    require_judged(findings_of(plan, results), results.run)


def _checked(file: SweepFile, path: Path) -> SweepPlan:
    """Return the plan of a sweep; the check of many cells is shown."""
    from ..execution.sweep_jobs import plan_sweep

    screen = Screen(err=True)
    if len(file.cells) < CHECKED or not screen.is_terminal:
        return plan_sweep(file, path, f"Sweep of {path.name}")
    from rich.progress import Progress

    with Progress(console=screen, transient=True) as bar:
        task = bar.add_task("Checking the cells", total=len(file.cells))
        return plan_sweep(file, path, f"Sweep of {path.name}", lambda done, _: bar.update(task, completed=done))


def _run(plan: SweepPlan, out: Path, place: Placement) -> tuple[Results, Path]:
    """Run what is missing, and return the results with the path of the page."""
    from ..execution import Results
    from ..execution.sweep_jobs import findings_of, unrelated
    from ..report.sweeping import carry_out_sweep
    from .progress import TerminalListener, result_lines

    errors = Screen(err=True)
    results = Results(out, plan.record)
    done = len(findings_of(plan, results))
    if done:
        errors.print(f"{done} of {plan.record.planned} trials are already done.")
    if other := unrelated(plan, results):
        errors.print(f"{other} results in {out} are of other cells; they are kept and not shown.")
    options = {"executor": place.executor, "stop_on_error": place.stop_on_error, "shard": place.shard}
    with TerminalListener(errors, result_lines) as listener:
        return results, carry_out_sweep(plan, results, listener, **options)


def _finish(plan: SweepPlan, results: Results, page: Path, as_json: bool) -> None:
    """Print the findings, or how many there are and where."""
    from ..execution.sweep_jobs import findings_of

    findings = findings_of(plan, results)
    if as_json:
        print_document(findings, results.run, **federation_json(results))
        return
    echo(f"{len(findings)} of {plan.record.planned} trials. Table: {(results.folder / 'sweep.csv').resolve()}")
    echo(f"Page: {page.resolve()}")
