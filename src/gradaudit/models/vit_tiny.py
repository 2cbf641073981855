"""A tiny vision transformer (Dosovitskiy et al., 2021) for small pictures."""

from torch import nn
from torchvision.models import VisionTransformer

from ..values.errors import AuditError
from ..values.types import Modality
from ._named import NamedModel

PATCH, WIDTH, DEPTH, HEADS = 4, 192, 12, 3


def vit_tiny(num_classes: int, channels: int, size: int) -> nn.Module:
    """Patches of 4 x 4 pixels, width 192, depth 12, 3 heads, no dropout; signed features before the head.

    Args:
        num_classes: K.
        channels: Of the pictures.
        size: Side in pixels, a multiple of 4.

    Raises:
        AuditError: `size` is no multiple of 4.
    """
    if size % PATCH:
        raise AuditError(f"vit-tiny: size must be a multiple of {PATCH}, got {size}.")
    model = VisionTransformer(size, PATCH, DEPTH, HEADS, WIDTH, 4 * WIDTH, num_classes=num_classes)
    if channels != 3:
        model.conv_proj = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
    nn.init.trunc_normal_(model.heads.head.weight, std=0.02)
    return model


MODEL = NamedModel("vit-tiny", Modality.PICTURES, vit_tiny)
