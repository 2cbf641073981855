"""The jobs that train the federation of an audit or a sweep, once for each seed."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audit.plan import Plan
from ..audit.schedule import Schedule
from ..audit.sweep_file import at_in_words
from ..audit.utility import Training, relevant, train, trainings
from ..inversion.attack import Watch
from ..values.federation_result import FederationResult
from .executors import Executor
from .executors.serial import Serial
from .journal import Journal
from .lock import locked
from .results import Results
from .runner import Listener, run_trials
from .trial import Setting, TrialOutcome


@dataclass(frozen=True)
class FederationJob:
    """One training of a federation.

    Args:
        setting: Number of the plan in the run.
        training: Which training of the plan.
        client_name: Description of the clients' defenses, or in a sweep the values of the cell.
    """

    setting: int
    training: Training
    client_name: str

    @property
    def trials(self) -> tuple[str, ...]:
        """The name of its only trial."""
        return (self.training.trial,)

    @property
    def checkpoint(self) -> str:
        """The name of its checkpoints, of which there are none: a training starts anew."""
        return f"federation-{self.training.trial}"

    @property
    def title(self) -> str:
        """The defenses and the seed in words."""
        return f"federation · {self.client_name} · seed {self.training.number + 1}"

    def left(self, done: Container[str]) -> FederationJob | None:
        """Return itself unless it is done."""
        return None if self.training.trial in done else self

    def run(self, plan: Plan, watch: Watch | None, keep: Path | None) -> Iterator[TrialOutcome]:
        """Train, and yield the accuracy over the rounds."""
        yield TrialOutcome(self.training.trial, self.title, train(plan, self.training, watch).to_json())


@dataclass
class FederationStore:
    """The trainings in the folder of a run."""

    folder: Path
    journal: Journal[FederationResult]


def federation_jobs(plans: Sequence[tuple[int, Schedule]]) -> list[FederationJob]:
    """Return the trainings of some plans, each once, with the number of the first plan that needs it.

    Raises:
        AuditError: A federation cannot train; nothing has run then.
    """
    found: dict[str, FederationJob] = {}
    for setting, plan in plans:
        for training in trainings(plan):
            name = at_in_words(relevant(getattr(plan, "grid", {})))
            if not name:
                name = plan.client.described if training.defended else "no defense"
            found.setdefault(training.trial, FederationJob(setting, training, name))
    return list(found.values())


def run_federations(
    settings: Sequence[Setting],
    jobs: Sequence[FederationJob],
    results: Results,
    listener: Listener[Any],
    *,
    executor: Executor | None = None,
    stop_on_error: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Run every training that is not in the folder yet; arguments and errors as of `execution.run`."""
    if not jobs:
        return
    with locked(results.folder):
        results.refresh()
        store = FederationStore(results.folder, results.federation)
        where = executor or Serial()
        run_trials(settings, jobs, store, where, listener, shard=shard, stop_on_error=stop_on_error)
