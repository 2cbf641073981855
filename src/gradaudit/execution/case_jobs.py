"""The jobs of an audit or a sweep: attacks on updates, alone or several in one pass."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from platform import python_version

from ..audit.judge import Audited, audit_together
from ..audit.plan import Plan
from ..audit.schedule import PASS, Schedule
from ..audit.sweep_file import at_in_words
from ..inversion.attack import TimeLimit, Watch
from ..inversion.run.call import shares_passes
from ..values.errors import AuditError
from ..values.files import png
from ..values.finding import Finding, ImageFiles, RunRecord
from ..values.transcript import Transcript
from ..values.versions import version_of
from .executors import Executor
from .executors.serial import Serial, threads_of
from .federation_jobs import federation_jobs
from .lock import locked
from .purse import Drawn, Purse, Share
from .results import Results
from .runner import Listener, run_trials
from .trial import TrialOutcome, failed


@dataclass(frozen=True)
class CaseJob:
    """One attack on one update, or on several that share a pass.

    Args:
        setting: Number of the client's schedule in the run.
        position: Position of the attack in the schedule.
        repeats: Numbers of the batches.
        trials: Names of the trials.
        checkpoint: Key of the first case.
        kept: Number of batches that the schedule keeps for other attacks on them.
        attack_name: Name of the attack.
        client_name: Description of the client's defenses, or in a sweep the values of the cell.
        share: Its share of the time budget, `None` without one.
    """

    setting: int
    position: int
    repeats: tuple[int, ...]
    trials: tuple[str, ...]
    checkpoint: str
    kept: int
    attack_name: str
    client_name: str
    share: Share | Drawn | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """The attack, the client and the batches in words."""
        first, last = self.repeats[0] + 1, self.repeats[-1] + 1
        return self._title(f"batch {first}" if first == last else f"batches {first} to {last}")

    def _title(self, batches: str) -> str:
        return f"{self.attack_name} · {self.client_name} · {batches}"

    def left(self, done: Container[str]) -> CaseJob | None:
        """Return itself unless all trials are done: the numbers of a pass depend on all its cases."""
        return None if all(trial in done for trial in self.trials) else self

    def run(self, schedule: Schedule, watch: Watch | None, keep: Path | None) -> Iterator[TrialOutcome]:
        """Audit the cases, and yield their findings with the files of their examples."""
        watch = watch if self.share is None else TimeLimit(self.share.draw(), watch)
        cases = []
        for trial, repeat in zip(self.trials, self.repeats, strict=True):
            try:
                case = schedule.case(self.position, repeat, kept=self.kept)
                if len(self.repeats) > 1:
                    case.observe()  # a client that cannot share one update fails alone
            except AuditError as error:
                yield failed(trial, self._title(f"batch {repeat + 1}"), error)
            else:
                cases.append(case)
        for case, audited in zip(cases, audit_together(cases, watch, keep) if cases else (), strict=True):
            finding, files = with_files(audited)
            yield TrialOutcome(case.trial, self._title(f"batch {case.repeat + 1}"), finding.to_json(), files)


def describe_run(plans: Sequence[Schedule], title: str) -> RunRecord:
    """Return the record of a run: what its page says of the whole run, and what must be equal for it to resume."""
    many = len(plans) > 1
    identity = {f"{plan.number}: {k}" if many else k: v for plan in plans for k, v in plan.identity().items()}
    return RunRecord(
        title=title,
        configuration="---\n".join(filter(None, (plan.configuration for plan in plans))),
        source=plans[0].description,
        planned=sum(map(len, plans)),
        identity={**identity, "gradaudit": version_of("gradaudit")},
        attribution=plans[0].attribution,
        version=version_of("gradaudit"),
        left_out=tuple(dict.fromkeys(line for plan in plans for line in plan.left_out)),
        trainings=tuple(job.training.trial for job in federation_jobs(list(enumerate(plans)))),
    )


def run(
    plans: Sequence[Schedule],
    results: Results,
    listener: Listener[Finding],
    *,
    executor: Executor | None = None,
    stop_on_error: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Audit every case of every plan that is not in `results` yet.

    Each finding is on disk before it counts, so that an interruption or an error loses at most one case of each
    worker, or half a minute of a long attack. On small networks, up to sixteen updates under one attack share a pass.

    Args:
        plans: The cases, client by client.
        results: The results of the run, in its folder.
        listener: Called with the progress.
        executor: Where the cases are computed; one after another in this process by default.
        stop_on_error: Whether the first case that fails stops the run; otherwise it is written down.
        shard: `(k, n)` runs the k-th of n parts, for n machines.

    Raises:
        AuditError: The folder or the executor cannot be used, or a case failed and `stop_on_error` is set.
    """
    where = executor or Serial()
    with locked(results.folder):
        results.refresh()
        with threads_of(where.threads):  # planning may compute an update, which the serial executor uses again
            jobs = [job for index, plan in enumerate(plans) for job in jobs_of(plan, index)]
        budgets = {index: plan.seconds for index, plan in enumerate(plans)}
        jobs = funded(jobs, budgets, results.journal.results, shard=shard, workers=where.workers or 1)
        run_trials(plans, jobs, results, where, listener, shard=shard, stop_on_error=stop_on_error)


def jobs_of(plan: Schedule, setting: int) -> Iterator[CaseJob]:
    """Yield the cases of a plan, grouped into those that share a pass.

    The groups do not depend on which cases are done or on the executor, so that the numbers are the same.
    """
    name = at_in_words(plan.grid) if isinstance(plan, Plan) and plan.grid else plan.client.described
    waiting: dict[int, list[int]] = {}
    shares = [plan.repeats > 1 and _shares(plan, position) for position in range(len(plan.attacks))]
    kept = min(plan.repeats, PASS) if any(shares) else 1

    def job(position: int, repeats: Sequence[int]) -> CaseJob:
        trials = tuple(plan.trial(position, repeat) for repeat in repeats)
        key = plan.key(position, repeats[0])
        return CaseJob(setting, position, tuple(repeats), trials, key, kept, plan.attacks[position][0], name)

    for position, repeat in plan.places:
        waiting.setdefault(position, []).append(repeat)
        if len(waiting[position]) == (PASS if shares[position] else 1):
            yield job(position, waiting.pop(position))
    for position, repeats in waiting.items():
        yield job(position, repeats)


def funded(
    jobs: Sequence[CaseJob],
    budgets: Mapping[int, float | None],
    done: Mapping[str, Finding],
    *,
    shard: tuple[int, int] = (1, 1),
    workers: int = 1,
) -> list[CaseJob]:
    """Return the jobs with their shares of the budgets of their settings; without a budget they stay as they are.

    Args:
        jobs: All jobs of the run.
        budgets: Number of a setting -> its budget in seconds.
        done: Trials that are finished, with their findings, whose time has been spent.
        shard: The part of the jobs that runs here, which has the whole budget.
        workers: Number of jobs that run at the same time.
    """
    mine = jobs[shard[0] - 1 :: shard[1]]
    spent: dict[int, float] = defaultdict(float)
    cases: dict[int, int] = defaultdict(int)
    for job in mine:
        finished = job.left(done) is None
        cases[job.setting] += 0 if finished else len(job.trials)
        spent[job.setting] += sum(done[trial].seconds for trial in job.trials) if finished else 0
    purses = {
        setting: Purse(seconds - spent[setting], cases[setting], workers)
        for setting, seconds in budgets.items()
        if seconds is not None
    }
    return [
        replace(job, share=Share(purses[job.setting], len(job.trials))) if job.setting in purses else job
        for job in jobs
    ]


def _shares(plan: Schedule, position: int) -> bool:
    """Return whether updates under this attack can share a pass with others and are faster that way."""
    attack, model = plan.attacks[position][1], plan.client.model
    with suppress(AuditError):  # the case itself fails for the same reason, and its failure is written down
        return shares_passes(attack, model, lambda: plan.case(position, 0).observe())
    return False


def with_files(audited: Audited) -> tuple[Finding, dict[str, bytes]]:
    """Return the finding with the paths of its examples, and those files; none if the attack could not run."""
    finding = replace(audited.finding, versions=versions())
    if audited.reconstruction is None:
        return finding, {}
    if audited.transcript is not None:
        name = f"examples/{finding.case}.json"
        return replace(finding, transcript=name), {name: _transcript(audited.transcript)}
    kinds = {"truth": audited.truth, "reconstruction": audited.reconstruction, "control": audited.control}
    files: dict[str, bytes] = {}
    names: dict[str, tuple[str, ...]] = {}
    for kind, pictures in kinds.items():
        found = {f"images/{finding.case}-{kind}-{i}.png": png(picture) for i, picture in enumerate(pictures)}
        names[kind] = tuple(found)
        files |= found
    return replace(finding, pictures=ImageFiles(**names)), files


def _transcript(transcript: Transcript) -> bytes:
    return json.dumps(transcript.to_json(), allow_nan=False).encode()


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that compute a finding."""
    return {"python": python_version(), **{name: version_of(name) for name in ("gradaudit", "torch", "torchvision")}}
