"""Parametrisations: the variables that are optimised, and how they decode to inputs."""

from ....values.discovery import Registry, subclasses_of
from ..part import Parametrisation

PARAMETRISATIONS: Registry[type[Parametrisation]] = Registry(
    __name__, "gradaudit.parametrisations", subclasses_of(Parametrisation)
)

__getattr__ = PARAMETRISATIONS.attribute
__dir__ = PARAMETRISATIONS.attributes
