"""torchvision's residual networks with one skip connection cut."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from ..values.errors import AuditError
from ._torchvision_models import torchvision_model


@dataclass(frozen=True)
class CutResNet:
    """A ResNet of basic blocks for small images, whole or with one block that no longer adds its input.

    Args:
        name: `resnet18` or `resnet34`.
        cut: Number of the block whose skip connection is cut, from 1 for the shallowest; `None` cuts nothing.
        small: Whether it starts with a 3x3 convolution of stride 1 and without max-pool, as for images of 32 pixels.
    """

    name: str
    cut: int | None = None
    small: bool = True

    def build(self, num_classes: int, channels: int, size: int) -> nn.Module:
        """Return the network with fresh weights, `[B, channels, size, size]` -> logits `[B, num_classes]`.

        The weights are those of the whole network from the same random state, but for a convolution of the cut skip.

        Raises:
            AuditError: There is no such block.
        """
        model = torchvision_model(self.name, num_classes, channels, size, cifar_stem=self.small)
        if self.cut is not None:
            blocks = [module for module in model.modules() if isinstance(module, BasicBlock)]
            if not 1 <= self.cut <= len(blocks):
                raise AuditError(f"{self.name}: has the skip connections 1 to {len(blocks)}. Found {self.cut}.")
            blocks[self.cut - 1].downsample = NoSkip()  # what stands here is added to the block's output
        return model


class NoSkip(nn.Module):
    """Nothing in place of a skip connection: a zero that broadcasts to every feature map."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map features to a zero `[1, 1, 1, 1]`."""
        return inputs.new_zeros(1, 1, 1, 1)
