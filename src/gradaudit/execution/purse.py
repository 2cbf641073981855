"""The time budget of a run, shared among its cases: what one leaves goes to those after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


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
