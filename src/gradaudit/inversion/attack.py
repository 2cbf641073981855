"""The interface of an attack: a callable that turns an observation into a reconstruction."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..protocol.observation import Observation
from ..values.types import Knowledge, Reconstruction

Watch = Callable[[int, int, float], None]
"""A progress callback, called now and then with (steps done, steps of the whole attack, value of the objective)."""


class TimeLimit:
    """A `Watch` that also says when an attack must end.

    Attacks by gradient matching look at it before every step, and then return their best iterate so far. An attack
    without such a loop runs to its end, unless it looks at `spent` itself.

    Args:
        seconds: Time from now on.
        watch: Takes the progress.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, seconds: float, watch: Watch | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.watch = clock, watch
        self.end = clock() + seconds

    def __call__(self, done: int, steps: int, objective: float) -> None:
        """Pass the progress on."""
        if self.watch is not None:
            self.watch(done, steps, objective)

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return self.clock() >= self.end

    def portion(self, runs: int) -> TimeLimit:
        """Return the limit of the first of `runs` equal runs that share what is left of the time."""
        return TimeLimit(max(0.0, self.end - self.clock()) / runs, self.watch, clock=self.clock)


def portion(watch: Watch | None, runs: int) -> Watch | None:
    """Return the watch of the first of `runs` runs that follow each other; they share the time of a `TimeLimit`."""
    return watch.portion(runs) if isinstance(watch, TimeLimit) else watch


@runtime_checkable
class Attack(Protocol):
    """An attack turns an observation into a reconstruction and states which facts it needs.

    >>> isinstance(ga.attacks.DLG, ga.Attack)
    True
    """

    @property
    def name(self) -> str:
        """The name used in the literature, in lower case with hyphens."""
        ...

    @property
    def needs(self) -> Knowledge:
        """The facts that the adversary must know; without them the attack refuses to run."""
        ...

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack.

        Args:
            seen: What the adversary sees; the attack must not change it.
            seed: Seed of every random choice.
            watch: Callback for the progress; a `TimeLimit` if the attack has to end early.
            keep: Path at which a long attack may store a checkpoint and from which it resumes (`run.keeper`); a short
                attack ignores it. `run.call` can also call an attack without this argument.

        Raises:
            AttackFailed: The attack cannot work on this observation.
            MissingKnowledge: The attack needs a fact that was not granted.
        """
        ...
