"""Objectives: distances between a candidate's update and the observed one."""

from ....values.discovery import Registry, subclasses_of
from ..part import Objective

OBJECTIVES: Registry[type[Objective]] = Registry(__name__, "gradaudit.objectives", subclasses_of(Objective))

__getattr__ = OBJECTIVES.attribute
__dir__ = OBJECTIVES.attributes
