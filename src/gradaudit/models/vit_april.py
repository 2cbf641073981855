"""A small vision transformer whose first block has no skip connections, as APRIL needs it (Lu et al., 2022)."""

from torch import Tensor, nn
from torchvision.models import VisionTransformer

from ..values.errors import AuditError
from ..values.types import Modality
from ._named import NamedModel

PATCH, WIDTH, DEPTH, HEADS = 4, 192, 4, 3
SPREAD = 3.0  # factor of the usual scale of the first projections


class _FirstBlock(nn.Module):
    """The first transformer block: attention, LayerNorm and MLP in sequence, without skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        # With usual weights the attention is almost uniform, and the gradients of all tokens almost coincide: the
        # condition number is 1e7 on smooth images, too large for float32.
        nn.init.xavier_uniform_(self.attention.in_proj_weight, gain=SPREAD)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mlp(self.norm(self.attention(tokens, tokens, tokens, need_weights=False)[0]))


def vit_april(num_classes: int, channels: int, size: int) -> nn.Module:
    """ViT for APRIL (Lu et al., 2022): patches of 4 x 4 pixels, width 192, 3 heads, depth 4, class token.

    The position embedding is learned. The first block has no skip connections and no LayerNorm before its attention;
    the other blocks are the usual ones. APRIL's closed form also needs at most as many tokens as the width, which is
    the case up to 52 pixels.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels, a multiple of 4.

    Raises:
        AuditError: `size` is not a multiple of 4.
    """
    if size % PATCH:
        raise AuditError(f"vit-april: size must be a multiple of {PATCH}, got {size}.")
    model = VisionTransformer(size, PATCH, DEPTH, HEADS, WIDTH, 4 * WIDTH, num_classes=num_classes)
    if channels != 3:
        model.conv_proj = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
    model.encoder.layers[0] = _FirstBlock()
    nn.init.trunc_normal_(model.heads.head.weight, std=0.02)
    return model


MODEL = NamedModel("vit-april", Modality.PICTURES, vit_april)
