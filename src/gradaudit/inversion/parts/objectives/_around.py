"""The base class of objectives that use another one."""

from __future__ import annotations

from dataclasses import dataclass

from ....values.types import Knowledge
from ..part import Objective


@dataclass(frozen=True)
class AroundObjective(Objective):
    """An objective around another one, whose needs it has, and which varies if that one does.

    Args:
        objective: The other objective.
    """

    objective: Objective

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """The needs of the other objective."""
        return self.objective.needs

    @property
    def varies(self) -> bool:  # type: ignore[override]
        """Whether the other objective varies."""
        return self.objective.varies
