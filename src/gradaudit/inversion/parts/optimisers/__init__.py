"""Optimisers of the variables of a stage, with their schedules."""

from ....values.discovery import Registry, subclasses_of
from ._optimiser import Optimiser

OPTIMISERS: Registry[type[Optimiser]] = Registry(__name__, "gradaudit.optimisers", subclasses_of(Optimiser))

__getattr__ = OPTIMISERS.attribute
__dir__ = OPTIMISERS.attributes
