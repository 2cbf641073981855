"""Running the trials of an audit, a sweep or a study: what is missing is computed, and every result is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ..inversion.attack import Watch
from ..inversion.run import keeper
from ..values.errors import AuditError
from ..values.files import make_folder, write_whole
from .executors import Executor
from .journal import Failure, Journal, Record
from .trial import UNFINISHED, Job, Setting, Site, TrialOutcome

SHOWN = 5  # failures in a summary
RETRY = "All others are kept. The same command computes these again."
Told = TypeVar("Told", contravariant=True)


class Listener(Generic[Told]):
    """A listener that a run calls with its progress; subclasses handle what they need. Several jobs may run at once.

    >>> class Bell(ga.Listener):
    ...     def begin(self, job, number, total):
    ...         print(f"{number} of {total}: {job.title}")
    ...
    ...     def end(self, finding, number, total):
    ...         print("done")
    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> batch = ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3]))
    >>> _ = ga.run(client, batch, "idlg", "priors", listener=Bell())
    1 of 1: idlg · no defense · batch 1
    done
    """

    def begin(self, job: Job, number: int, total: int) -> Watch | None:
        """Handle the start of a job; the returned `Watch`, if any, is called with the steps of its attack."""
        return None

    def end(self, finding: Told, number: int, total: int) -> None:
        """Handle the result of a trial, a finding or a measurement of a study, which is on disk."""

    def fail(self, failure: Failure, number: int, total: int) -> None:
        """Handle a trial that failed, which is on disk, too."""

    def finish(self, job: Job) -> None:
        """Handle the end of a job, after the results of its trials."""


class TrialStore(Protocol[Record]):
    """The folder of a run, with its journal."""

    folder: Path
    journal: Journal[Record]


def run_trials(
    settings: Sequence[Setting],
    jobs: Sequence[Job],
    store: TrialStore[Record],
    executor: Executor,
    listener: Listener[Record],
    *,
    shard: tuple[int, int] = (1, 1),
    stop_on_error: bool = False,
) -> None:
    """Run the jobs that are missing in a locked folder whose journal was read; an outcome counts once it is on disk.

    Args:
        settings: What the jobs run on.
        jobs: All jobs of the run.
        store: The folder.
        executor: Where they are computed.
        listener: Called with the progress.
        shard: `(k, n)` runs the k-th of n parts, for n machines.
        stop_on_error: Whether the first trial that fails stops the run.

    Raises:
        AuditError: The executor or the folder cannot be used, or a trial failed and `stop_on_error` is set. Otherwise a
            trial that fails is written down, and the rest goes on.
    """
    mine = jobs[shard[0] - 1 :: shard[1]]
    trials = {trial for job in mine for trial in job.trials}
    store.journal.forget_failures(but=trials)
    left = [rest for job in mine if (rest := job.left(store.journal.results))]
    if left:
        writer = _Writer(store, listener, trials, stop_on_error)
        executor.run(settings, left, Site.of(store.folder), writer)
    _forget_checkpoints(mine, store)


def require_complete(failures: Sequence[str], total: int) -> None:
    """Raise `AuditError` with a summary if trials failed, so that the exit code does not suggest a whole result.

    Args:
        failures: One line for each trial that failed.
        total: Number of trials of the run.
    """
    if failures:
        shown = " ".join(dict.fromkeys(failures[:SHOWN]))
        more = f" And {len(failures) - SHOWN} more." if len(failures) > SHOWN else ""
        raise AuditError(f"{len(failures)} of {total} trials failed: {shown}{more} {RETRY}")


class _Writer(Generic[Record]):
    """Writes outcomes into a folder and tells a listener."""

    def __init__(
        self, store: TrialStore[Record], listener: Listener[Record], trials: Collection[str], stop_on_error: bool
    ) -> None:
        self.store, self.listener, self.stop_on_error = store, listener, stop_on_error
        self.total, self.done = len(trials), sum(trial in store.journal.results for trial in trials)
        self.begun = self.done
        self.failed: set[str] = set()
        self.watches: dict[str, Watch | None] = {}

    def began(self, job: Job) -> None:
        again = job.checkpoint in self.watches  # its worker died
        self.begun += 0 if again else len(job.trials)
        number = self.begun - len(job.trials) + 1
        self.watches[job.checkpoint] = self.listener.begin(job, number, self.total)

    def stepped(self, job: Job, done: int, steps: int, objective: float) -> None:
        watch = self.watches.get(job.checkpoint)
        if watch is not None:
            watch(done, steps, objective)

    def ended(self, job: Job, outcome: TrialOutcome) -> None:
        journal = self.store.journal
        if outcome.trial in journal.results or outcome.trial in self.failed:
            return  # the worker of another attempt died after it
        if outcome.result is None:
            self.failed.add(outcome.trial)
            failure = Failure(outcome.trial, outcome.title, outcome.error, outcome.trace)
            journal.fail(failure)
            self.listener.fail(failure, self.done, self.total)
            if self.stop_on_error:
                error = AuditError(outcome.error)
                if outcome.trace:
                    error.add_note(outcome.trace)  # a caller from Python sees where its own code failed
                raise error
            return
        _write(self.store.folder, outcome.files)
        record = journal.append(outcome.trial, outcome.result)
        self.done += 1
        self.listener.end(record, self.done, self.total)

    def finished(self, job: Job) -> None:
        if all(trial in self.store.journal.results for trial in job.trials):
            keeper.forget(self.store.folder / UNFINISHED / job.checkpoint)
        self.listener.finish(job)


def _forget_checkpoints(jobs: Sequence[Job], store: TrialStore[Record]) -> None:
    """Delete what a killed process left of finished jobs; other parts, scales and cells in the folder keep theirs."""
    folder = store.folder / UNFINISHED
    for job in jobs:
        if not folder.is_dir():
            return
        if all(trial in store.journal.results for trial in job.trials):
            keeper.forget(folder / job.checkpoint)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        make_folder((folder / name).parent, above=False)
        write_whole(folder / name, content)
