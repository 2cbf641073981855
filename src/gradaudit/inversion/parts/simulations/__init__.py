"""Simulations: the client's local training as the adversary assumes it, which maps a candidate to an update."""

from ....values.discovery import Registry, subclasses_of
from ..part import Simulation

SIMULATIONS: Registry[type[Simulation]] = Registry(__name__, "gradaudit.simulations", subclasses_of(Simulation))

__getattr__ = SIMULATIONS.attribute
__dir__ = SIMULATIONS.attributes
