"""Denoisers: smooth a reconstruction after the attack."""

from ....values.discovery import Registry, subclasses_of
from ._denoiser import Denoiser

DENOISERS: Registry[type[Denoiser]] = Registry(__name__, "gradaudit.denoisers", subclasses_of(Denoiser))

__all__ = ["DENOISERS", "Denoiser"]

__getattr__ = DENOISERS.attribute
__dir__ = DENOISERS.attributes
