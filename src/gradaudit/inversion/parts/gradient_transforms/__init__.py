"""Gradient transforms: changes of the gradient before the optimiser sees it."""

from ....values.discovery import Registry, subclasses_of
from ..part import GradientTransform

GRADIENT_TRANSFORMS: Registry[type[GradientTransform]] = Registry(
    __name__, "gradaudit.gradient_transforms", subclasses_of(GradientTransform)
)

__getattr__ = GRADIENT_TRANSFORMS.attribute
__dir__ = GRADIENT_TRANSFORMS.attributes
