"""The time that a run has, if there is a limit."""

from __future__ import annotations

from ...values.errors import AttackFailed
from ..attack import TimeLimit, Watch
from .recipe import Recipe


class Allowance:
    """The time of one run, and whether its end cut the run.

    Args:
        attack: The attack.
        watch: The callback for the progress; a `TimeLimit` if the time is limited.
    """

    def __init__(self, attack: Recipe, watch: Watch | None) -> None:
        self.name, self.steps = attack.name, sum(stage.steps for stage in attack.stages)
        self.limit = watch if isinstance(watch, TimeLimit) else None
        self.cut, self._taken = False, 0

    @property
    def taken(self) -> int:
        """Steps that were taken, or all of them if the run came to its own end."""
        return self._taken if self.cut else self.steps

    def over(self, taken: int) -> bool:
        """Return whether the time is over after so many steps. Raise `AttackFailed` if that is before the first one."""
        if self.limit is None or not self.limit.spent:
            return False
        self.cut, self._taken = True, taken
        if not taken:
            raise AttackFailed(
                f"{self.name}: the budget ended before the first step. Give a larger budget, or fewer attacks."
            )
        return True


def cut_note(done: int, steps: int) -> str:
    """Return the sentence on an attack that a time limit ended."""
    return (
        f"The budget cut this attack at step {done} of {steps}: the result is its best iterate so far by its own "
        "objective, and depends on the speed of the machine."
    )
