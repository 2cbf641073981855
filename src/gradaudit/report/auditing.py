"""Running an audit, and writing its page even if it is interrupted."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import report
from ..audit.budget import seconds_of
from ..audit.given import make_batches, several
from ..audit.schedule import Schedule
from ..client.participant import Client
from ..execution import Listener, Results, describe_run, make_executor
from ..execution import run as run_cases
from ..execution.executors import Executor
from ..execution.federation_jobs import federation_jobs, run_federations
from ..inversion.attack import Attack
from ..values.errors import AuditError, AuditInterrupted
from ..values.finding import Finding
from ..values.granting import Granted
from ..values.types import Batch
from .determined import determine_into
from .feasibility import assess_into
from .outcome import Run

AGAIN = "Run the same command again to resume."
CALL_AGAIN = "Make the same call again to resume."


def run(
    client: Client | Sequence[Client],
    batches: Batch | Iterable[Batch],
    attacks: Attack | str | Iterable[Attack | str],
    knowledge: Granted,
    *,
    out: str | PathLike[str] | None = None,
    seed: int = 0,
    public: Batch | Tensor | None = None,
    others: Batch | Tensor | None = None,
    title: str = "Audit",
    listener: Listener[Finding] | None = None,
    executor: str | None = None,
    workers: int | None = None,
    budget: str | None = None,
    stop_on_error: bool = True,
) -> Run:
    """Let a client share its update of every batch, run every attack on it, and score the reconstructions.

    This function is the engine of `gradaudit audit`. A client trains once for each batch. The same call with the same
    `out` resumes where it stopped.

    The control, a guess made without the update, is computed from `others` (by default from `public`): the pixelwise
    mean of images, or the most frequent category and the mean number of each column of a table. For images, `others`
    are also the gallery in which the original is identified by its reconstruction. Without `others` the control is mid
    grey, a row of zeros or padding, which is easier to beat than a mean: gains are then larger than with other
    examples of the same source, no identification is measured, and the page says so. For text the control is always
    padding, and tokens are shown as their ids, because only an audit file knows their words.

    Args:
        client: The client under audit, on the device where the attacks are to run; or several, such as one with and
            one without a defense, which the page compares.
        batches: Private examples: one batch, or several (repeats).
        attacks: Values such as `ga.attacks.DLG`, names such as `"dlg"` or `"standard-1"` (a battery), or
            `"file.py:ATTACK"`; one or several.
        knowledge: What the adversary knows: flags (`ga.Level.PRIORS | ga.Knowledge.LABELS`) or names
            (`["priors", "LABELS"]`).
        out: Folder for the findings, the images and the page. By default it is a temporary folder that only this user
            can read and that is deleted when the `Run` is no longer used.
        seed: Seed of all random numbers, of the client and of the attacks.
        public: Public examples that the adversary knows under PUBLIC_DATA, `[N, ...]`.
        others: Examples of the same kind as the private ones, `[N, ...]`, only for the control and the identification.
        title: Heading of the page.
        listener: Called with the progress.
        executor: `serial`, `pool` (several processes) or `ray`; `pool` by default if there are several workers. A pool
            needs a client whose classes are defined in a module, not in a notebook.
        workers: Number of cases at the same time, one by default. Each worker has one thread.
        budget: Time for all attacks together, such as `"90s"`, `"10m"` or `"1.5h"`; each client has an equal part.
        stop_on_error: Whether the first case whose code fails stops the run; otherwise the failure is in
            `Run.record.failures`, and the rest goes on.

    Returns:
        The findings, with the path of their page.

    Raises:
        AuditError: An argument does not fit, `out` contains another run or is used by another process, or an attack's
            code fails. An attack that could not run is a finding (`cannot_judge`).
        AuditInterrupted: Ctrl-C was pressed; finished cases are in `out`. Without `out`, `KeyboardInterrupt` is raised.

    >>> import torch
    >>> import gradaudit as ga
    >>> _ = torch.manual_seed(0)
    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10)))
    >>> batch = ga.Batch(torch.rand(1, 3, 4, 4), torch.tensor([3]))
    >>> found = ga.run(client, batch, "dlg", ["priors", "LABELS"])
    >>> found.findings[0].scores.psnr.mean > 40
    True
    >>> found.verdicts[0].headline
    'Recognisable:'
    """
    clients = several(client, Client)
    if not clients:
        raise AuditError("client: is an empty list; give one gradaudit.Client or several.")
    given, chosen = several(batches, Batch), several(attacks, str, Attack)
    seconds = None if budget is None else seconds_of(budget) / len(clients)
    shared: dict[str, Any] = {"seed": seed, "public": public, "others": others, "seconds": seconds}
    plans = [make_batches(one, given, chosen, knowledge, number=number, **shared) for number, one in enumerate(clients)]
    record = describe_run(plans, title)
    told, where = listener or Listener(), make_executor(executor, workers)
    if out is not None:
        results = Results(Path(out), record)
        return carry_out(plans, results, told, executor=where, stop_on_error=stop_on_error, again=CALL_AGAIN)
    folder = Path(tempfile.mkdtemp(prefix="gradaudit-"))
    try:
        results = Results(folder, record)
        _work(plans, results, told, executor=where, stop_on_error=stop_on_error)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    found = Run(tuple(results.findings), results.run, folder)
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def carry_out(
    schedules: Sequence[Schedule],
    results: Results,
    listener: Listener[Finding],
    *,
    executor: Executor | None = None,
    stop_on_error: bool = True,
    shard: tuple[int, int] = (1, 1),
    again: str = AGAIN,
) -> Run:
    """Audit every case that is not in `results` yet, and write the page and `results.jsonl` even if a case fails.

    Args:
        schedules: The cases, client by client.
        results: The results of this run, in its folder.
        listener: Called with the progress.
        executor: Where the cases are computed; one after another in this process by default.
        stop_on_error: Whether the first case that fails stops the run.
        shard: `(k, n)` runs the k-th of n parts.
        again: A sentence that says how to resume after an interruption.

    Raises:
        AuditError: `execution.run` raises it, or the page cannot be written.
        AuditInterrupted: Ctrl-C was pressed; the message says how many cases are saved.
    """
    try:
        _work(schedules, results, listener, executor=executor, stop_on_error=stop_on_error, shard=shard)
    except BaseException as error:
        with suppress(AuditError):  # the error that stopped the run is the one to report
            _derive(results)
        if not isinstance(error, KeyboardInterrupt):
            raise
        kept = f"{len(results.done)} of {results.run.planned} cases are kept in {results.folder}"
        raise AuditInterrupted(f"interrupted: {kept}. {again}") from None
    _derive(results)
    return Run(tuple(results.findings), results.run, results.folder)


def _work(schedules: Sequence[Schedule], results: Results, listener: Listener[Finding], **options: Any) -> None:
    """Assess captured updates, determine what the updates tell if asked, run the cases, and train the federation."""
    assess_into(results.folder, schedules)
    determine_into(results.folder, schedules)
    run_cases(schedules, results, listener, **options)
    run_federations(schedules, federation_jobs(list(enumerate(schedules))), results, listener, **options)


def _derive(results: Results) -> None:
    """Write the files that are derived from the journal: the findings in order, and the page."""
    results.export()
    report.write(results.findings, results.run, results.folder)
