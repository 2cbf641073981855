"""Networks that remove noise from images, with the noise level as an input."""

from ...values.discovery import Registry, subclasses_of
from ._denoising_architecture import DenoisingArchitecture

DENOISING_NETWORKS: Registry[type[DenoisingArchitecture]] = Registry(
    __name__, "gradaudit.denoising_networks", subclasses_of(DenoisingArchitecture)
)
"""Every architecture, by name."""

__all__ = ["DENOISING_NETWORKS", "DenoisingArchitecture"]

__getattr__ = DENOISING_NETWORKS.attribute
__dir__ = DENOISING_NETWORKS.attributes
