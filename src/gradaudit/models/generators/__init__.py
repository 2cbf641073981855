"""Generators of images: networks from a latent vector to an image, trained on images like the client's."""

from ...values.discovery import Registry, subclasses_of
from ._architecture import GeneratorArchitecture
from ._network import GeneratorNetwork

GENERATORS: Registry[type[GeneratorArchitecture]] = Registry(
    __name__, "gradaudit.generators", subclasses_of(GeneratorArchitecture)
)
"""Every architecture, by name."""

__all__ = ["GENERATORS", "GeneratorArchitecture", "GeneratorNetwork"]

__getattr__ = GENERATORS.attribute
__dir__ = GENERATORS.attributes
