"""Auto-encoders of images, whose error says how unlike its training images an image is."""

from ...values.discovery import Registry, subclasses_of
from ._auto_encoder_architecture import AutoEncoderArchitecture

AUTO_ENCODERS: Registry[type[AutoEncoderArchitecture]] = Registry(
    __name__, "gradaudit.auto_encoders", subclasses_of(AutoEncoderArchitecture)
)
"""Every architecture, by name."""

__all__ = ["AUTO_ENCODERS", "AutoEncoderArchitecture"]

__getattr__ = AUTO_ENCODERS.attribute
__dir__ = AUTO_ENCODERS.attributes
