"""Priors: penalties that express what is known of natural inputs before any update is seen."""

from ....values.discovery import Registry, subclasses_of
from ..part import Prior

PRIORS: Registry[type[Prior]] = Registry(__name__, "gradaudit.priors", subclasses_of(Prior))

__getattr__ = PRIORS.attribute
__dir__ = PRIORS.attributes
