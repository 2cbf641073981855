"""Generators of images: networks from a latent vector to an image, trained on images like the client's."""

from ...values.discovery import Registry, subclasses_of
from ._generator_architecture import GeneratorArchitecture
from ._generator_network import GeneratorNetwork

GENERATORS: Registry[type[GeneratorArchitecture]] = Registry(
    __name__, "gradaudit.generators", subclasses_of(GeneratorArchitecture)
)
"""Every architecture, by name."""

__all__ = ["GENERATORS", "GeneratorArchitecture", "GeneratorNetwork"]

__getattr__ = GENERATORS.attribute
__dir__ = GENERATORS.attributes
