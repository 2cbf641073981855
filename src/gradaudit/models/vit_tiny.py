"""A tiny vision transformer (Dosovitskiy et al., 2021) for small images."""

from torch import nn
from torchvision.models import VisionTransformer

from ..values.errors import AuditError
from ..values.types import Modality
from ._named import NamedModel

PATCH, WIDTH, DEPTH, HEADS = 4, 192, 12, 3


def vit_tiny(num_classes: int, channels: int, size: int) -> nn.Module:
    """ViT-Tiny (Dosovitskiy et al., 2021): patches of 4 x 4 pixels, width 192, depth 12, 3 heads, no dropout.

    The features before the head may be negative.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels, a multiple of 4.

    Raises:
        AuditError: `size` is not a multiple of 4.
    """
    if size % PATCH:
        raise AuditError(f"vit-tiny: size must be a multiple of {PATCH}, got {size}.")
    model = VisionTransformer(size, PATCH, DEPTH, HEADS, WIDTH, 4 * WIDTH, num_classes=num_classes)
    if channels != 3:
        model.conv_proj = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
    nn.init.trunc_normal_(model.heads.head.weight, std=0.02)
    return model


MODEL = NamedModel("vit-tiny", Modality.PICTURES, vit_tiny)
