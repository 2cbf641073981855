"""Image and text in one network: the layout of their joint input, and a model with two encoders and one head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .lenet import lenet
from .text_cnn import FILTERS, SPANS, TextCNN


@dataclass(frozen=True)
class Splice:
    """The layout that joins images `[B, C, H, W]` and word vectors `[B, 1, L, width]` to `[B, C + planes, H, W]`.

    The word vectors fill as many further planes as they need, row by row (MGIA's "Splicing", which needs one plane).
    The rest of the last plane is filled with `padding`.

    Args:
        picture: `(C, H, W)`, the shape of an image.
        words: L, the number of words.
        width: Length of a word vector.
        padding: Fill value in the units of the text input, which its normalisation maps to 0.
    """

    picture: tuple[int, int, int]
    words: int
    width: int = 100
    padding: float = 0.5

    @property
    def planes(self) -> int:
        """Number of planes of text."""
        return math.ceil(self.words * self.width / (self.picture[1] * self.picture[2]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one spliced example, `(C + planes, H, W)`."""
        channels, height, width = self.picture
        return channels + self.planes, height, width

    def join(self, pictures: Tensor, text: Tensor) -> Tensor:
        """Return the joint input `[B, C + planes, H, W]`."""
        flat = text.flatten(1)
        _, height, width = self.picture
        whole = flat.new_full((len(flat), self.planes * height * width), self.padding)
        whole[:, : flat.shape[1]] = flat
        return torch.cat([pictures, whole.view(len(flat), self.planes, height, width)], dim=1)

    def split(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images `[B, C, H, W]` and word vectors `[B, 1, L, width]` of a joint input."""
        channels = self.picture[0]
        text = joined[:, channels:].flatten(1)[:, : self.words * self.width]
        return joined[:, :channels], text.view(-1, 1, self.words, self.width)


class FusedNet(nn.Module):
    """A network with an encoder for each modality and one linear head over both (the model in MGIA's abstract).

    The encoders are LeNet without its last layer (768 features of a 32 x 32 image, weights from U(-0.5, 0.5)) and
    TextCNN without its last layer (768 features). The weights of the head are drawn as in these networks, those of the
    image from U(-0.5, 0.5): with torch's own initialisation of a layer of 1536 inputs, the gradient of the image would
    be a twentieth of LeNet's. The network takes a spliced input `[B, C + planes, H, W]`; no encoder sees the padding.

    Args:
        num_classes: K.
        splice: Layout of the input; its images must be square.
    """

    def __init__(self, num_classes: int, splice: Splice) -> None:
        super().__init__()
        channels, size, _ = splice.picture
        whole = lenet(num_classes, channels, size)
        assert isinstance(whole, nn.Sequential)
        self.splice = splice
        self.image, self.text = whole[:-1], TextCNN(num_classes, splice.width, head=False)
        seen = whole[-1].in_features
        self.head = nn.Linear(seen + FILTERS * len(SPANS), num_classes)
        with torch.no_grad():
            self.head.weight[:, :seen] = whole[-1].weight

    def forward(self, joined: Tensor) -> Tensor:
        """Map `[B, C + planes, H, W]` to logits `[B, K]`."""
        pictures, text = self.splice.split(joined)
        return self.head(torch.cat([self.image(pictures), self.text(text)], dim=1))
