"""What an attack is: anything that turns an observation into a reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..client.observation import Observation
from ..values.types import Knowledge, Reconstruction

Watch = Callable[[int, int, float], None]
"""Called now and then with (steps done, steps of the whole attack, value of the objective)."""


@runtime_checkable
class Attack(Protocol):
    """Anything that turns an observation into a reconstruction and says what it needs for it.

    >>> isinstance(ga.attacks.DLG, ga.Attack)
    True
    """

    @property
    def name(self) -> str:
        """As in the literature, in lower case with hyphens."""
        ...

    @property
    def needs(self) -> Knowledge:
        """The facts without which it refuses to run."""
        ...

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack.

        Args:
            seen: What the adversary sees; it must not be changed.
            seed: Of every random choice.
            watch: Told of the progress.
            keep: Where a long attack may keep an unfinished run, and go on from (`run.keeper`); a short one does not
                use it. `run.call` calls an attack without this argument, too.

        Raises:
            AttackFailed: The attack cannot work on this observation.
            MissingKnowledge: It needs a fact that was not granted.
        """
        ...
