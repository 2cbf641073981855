"""The update as a gradient of the double loss."""

from dataclasses import dataclass

from gradaudit.inversion.parts.simulations import Simulation
from gradaudit.inversion.parts.simulations.as_gradient import AsGradient


@dataclass(frozen=True)
class OneGradient(Simulation):
    """As `AsGradient` with a scale of 1."""

    def bind(self, seen):
        """Return the simulation on the run's model."""
        return AsGradient().bind(seen)
