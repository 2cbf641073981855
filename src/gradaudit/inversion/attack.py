"""The interface of an attack: a callable that turns an observation into a reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..protocol.observation import Observation
from ..values.types import Knowledge, Reconstruction

Watch = Callable[[int, int, float], None]
"""A progress callback, called now and then with (steps done, steps of the whole attack, value of the objective)."""


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
            watch: Callback for the progress.
            keep: Path at which a long attack may store a checkpoint and from which it resumes (`run.keeper`); a short
                attack ignores it. `run.call` can also call an attack without this argument.

        Raises:
            AttackFailed: The attack cannot work on this observation.
            MissingKnowledge: The attack needs a fact that was not granted.
        """
        ...
