"""The jobs of a sweep: the cases of every cell of its grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audit.captured import CapturedPlan, make_schedule
from ..audit.plan import Plan
from ..audit.schedule import FileSchedule
from ..audit.shelf import Shelf
from ..audit.sweep_file import SweepCell, SweepFile
from ..values.errors import AuditError
from ..values.finding import Finding, RunRecord
from ..values.versions import version_of
from .case_jobs import CaseJob, funded, jobs_of
from .executors import Executor
from .executors.serial import Serial
from .federation_jobs import FederationJob, federation_jobs, run_federations
from .lock import locked
from .results import Results
from .runner import Listener, run_trials

_SHELF = Shelf()  # of this process, for the cells that it opens one after another


@dataclass(frozen=True)
class CellSetting:
    """One cell of a sweep, to be opened by any process.

    Args:
        cell: The cell.
        folder: Folder at which its relative paths start.
        uses_gpu: Whether its trials run on a GPU.
    """

    cell: SweepCell
    folder: Path
    uses_gpu: bool = False

    def open(self) -> Plan | CapturedPlan:
        """Return the plan of the cell. Raise the errors of `make_schedule`."""
        return make_schedule(self.cell.config, self.folder, number=self.cell.number, grid=self.cell.at, shelf=_SHELF)


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """A sweep whose cells are checked and whose trials have names.

    Args:
        record: What the page says of the whole run, and what must be equal for it to resume.
        settings: The cells.
        jobs: Their jobs.
        trainings: The jobs that train the federations of the cells.
    """

    record: RunRecord
    settings: tuple[CellSetting, ...]
    jobs: tuple[CaseJob, ...]
    trainings: tuple[FederationJob, ...] = ()

    @property
    def trials(self) -> frozenset[str]:
        """Names of all trials."""
        return frozenset(trial for job in self.jobs for trial in job.trials)


def plan_sweep(file: SweepFile, path: Path, title: str, look: Callable[[int, int], None] | None = None) -> SweepPlan:
    """Check every cell of a sweep and return its plan.

    Args:
        file: The sweep file.
        path: Its path, at whose folder relative paths start.
        title: Heading of the page.
        look: Called with (number of checked cells, number of cells).

    Raises:
        AuditError: A cell cannot be run; the message names it.
    """
    folder, shelf = path.resolve().parent, Shelf()
    settings: list[CellSetting] = []
    jobs: list[CaseJob] = []
    trained: dict[str, FederationJob] = {}
    first: Plan | CapturedPlan | None = None
    left_out: dict[str, None] = {}
    for cell in file.cells:
        try:
            plan = make_schedule(cell.config, folder, number=cell.number, grid=cell.at, shelf=shelf)
            if not len(plan):
                raise AuditError("attacks is an empty list, so there is nothing to run. Name at least one attack.")
            jobs += jobs_of(plan, cell.number)
            for training in federation_jobs([(cell.number, plan)]):
                trained.setdefault(training.training.trial, training)
            left_out |= dict.fromkeys(plan.left_out)
        except AuditError as error:
            raise AuditError(f"{path}: {cell.name}: {error}") from error
        settings.append(CellSetting(cell, folder, plan.uses_gpu))
        first = first or plan
        if look:
            look(cell.number + 1, len(file.cells))
    assert first is not None  # `read_sweep` refuses an empty grid
    record = RunRecord(
        title=title,
        configuration=file.configuration,
        source=first.description,
        planned=sum(len(job.trials) for job in jobs),
        identity=_identity(file, first),
        attribution=first.attribution,
        version=version_of("gradaudit"),
        kind="sweep",
        grid=file.grid,
        zipped=file.zipped,
        left_out=tuple(left_out),
        trainings=tuple(trained),
    )
    return SweepPlan(record, tuple(settings), tuple(jobs), tuple(trained.values()))


def _identity(file: SweepFile, first: FileSchedule) -> dict[str, Any]:
    """Return what must be equal for a sweep to resume: everything but the values of its grid."""
    swept = any(key.startswith(("data", "update")) for key in file.grid)
    files = {} if swept else {name: value for name, value in first.digests.items() if name != "model sha256"}
    return {**file.identity, **files, "gradaudit": version_of("gradaudit")}


def run_sweep(
    plan: SweepPlan,
    results: Results,
    listener: Listener[Finding],
    *,
    executor: Executor | None = None,
    stop_on_error: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Run every trial of a sweep that is not in `results` yet; arguments and errors as of `execution.run`."""
    with locked(results.folder):
        results.refresh()
        budgets = {number: setting.cell.config.seconds for number, setting in enumerate(plan.settings)}
        jobs = funded(plan.jobs, budgets, results.journal.results, shard=shard)
        run_trials(
            plan.settings, jobs, results, executor or Serial(), listener, shard=shard, stop_on_error=stop_on_error
        )
    run_federations(
        plan.settings, plan.trainings, results, listener, executor=executor, stop_on_error=stop_on_error, shard=shard
    )


def findings_of(plan: SweepPlan, results: Results) -> list[Finding]:
    """Return the findings of a sweep in the order of its trials; the folder may hold those of an earlier grid, too."""
    found = results.journal.results
    return [found[trial] for job in plan.jobs for trial in job.trials if trial in found]


def unrelated(plan: SweepPlan, results: Results) -> int:
    """Return how many results in the folder belong to no trial of the sweep."""
    return len(set(results.done) - plan.trials)
