"""The time budget of a run, shared among its cases: what one leaves goes to those after it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..values.finding import Finding


class Purse:
    """The time that is left for the attacks of one client, and the cases that it is left for.

    Time runs from the first draw. Every case gets an equal share of what is left when it begins.

    Args:
        seconds: The budget, less what finished cases have taken.
        cases: Number of cases that are not done.
        workers: Number of cases that run at the same time.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, seconds: float, cases: int, workers: int = 1, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self.cases, self.workers, self.clock = seconds, cases, workers, clock
        self.end: float | None = None

    def draw(self, cases: int) -> float:
        """Return the seconds for a job of so many cases, which begins now."""
        now = self.clock()
        if self.end is None:
            self.end = now + self.seconds
        shares = max(self.cases, cases)
        self.cases = max(0, self.cases - cases)
        beside = max(1, min(self.workers, shares // cases))
        return max(0.0, self.end - now) * beside * cases / shares


class Share:
    """A job's share of a purse. It is drawn when the job begins, or when it is sent to another process.

    Args:
        purse: The purse.
        cases: Number of cases of the job.
    """

    def __init__(self, purse: Purse, cases: int) -> None:
        self.purse, self.cases = purse, cases

    def draw(self) -> float:
        """Return the seconds of the job."""
        return self.purse.draw(self.cases)

    def __reduce__(self) -> tuple[Any, ...]:
        return Drawn, (self.draw(),)


class Drawn:
    """A share that was drawn in another process.

    Args:
        seconds: The seconds of the job.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def draw(self) -> float:
        """Return the seconds of the job."""
        return self.seconds


def funded(
    jobs: Sequence[Any],
    budgets: Mapping[int, float | None],
    done: Mapping[str, Finding],
    *,
    shard: tuple[int, int] = (1, 1),
    workers: int = 1,
) -> list[Any]:
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
