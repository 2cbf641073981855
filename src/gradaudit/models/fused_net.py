"""Two modalities in one network: the layout of their common input, and a model with two encoders and one head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .lenet import lenet
from .text_cnn import FILTERS, SPANS, TextCNN


@dataclass(frozen=True)
class Splice:
    """Pictures `[B, C, H, W]` and word vectors `[B, 1, L, width]` as one input `[B, C + planes, H, W]`.

    The word vectors fill as many further planes as they need, row by row (MGIA's "Splicing", which needs one); what is
    left over holds `padding`.

    Args:
        picture: `(C, H, W)`.
        words: L.
        width: Of a word vector.
        padding: In the units of the text's input; what the normalisation takes to 0.
    """

    picture: tuple[int, int, int]
    words: int
    width: int = 100
    padding: float = 0.5

    @property
    def planes(self) -> int:
        """Planes of text."""
        return math.ceil(self.words * self.width / (self.picture[1] * self.picture[2]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one spliced example."""
        channels, height, width = self.picture
        return channels + self.planes, height, width

    def join(self, pictures: Tensor, text: Tensor) -> Tensor:
        """The common input."""
        flat = text.flatten(1)
        _, height, width = self.picture
        whole = flat.new_full((len(flat), self.planes * height * width), self.padding)
        whole[:, : flat.shape[1]] = flat
        return torch.cat([pictures, whole.view(len(flat), self.planes, height, width)], dim=1)

    def split(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures `[B, C, H, W]` and word vectors `[B, 1, L, width]`."""
        channels = self.picture[0]
        text = joined[:, channels:].flatten(1)[:, : self.words * self.width]
        return joined[:, :channels], text.view(-1, 1, self.words, self.width)


class FusedNet(nn.Module):
    """An encoder for each modality and one linear head over both (the model that MGIA's abstract draws).

    LeNet without its last layer (768 features of a 32 x 32 picture, weights from U(-0.5, 0.5)) beside TextCNN without
    its own (768 features). The head is drawn as both networks draw theirs, the picture's columns from U(-0.5, 0.5): as
    torch draws a layer of 1536 inputs, the picture's gradient would be a twentieth of LeNet's. It takes a spliced input
    `[B, C + planes, H, W]`; the padding reaches neither encoder.

    Args:
        num_classes: K.
        splice: Layout of the input; its pictures must be square.
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
        """`[B, C + planes, H, W]` -> logits `[B, K]`."""
        pictures, text = self.splice.split(joined)
        return self.head(torch.cat([self.image(pictures), self.text(text)], dim=1))
