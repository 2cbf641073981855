"""The convolutional sentence classifier of Kim (EMNLP 2014), on word vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..values.errors import AuditError

FILTERS = 256
SPANS = (2, 3, 4)


class TextCNN(nn.Module):
    """The sentence CNN: convolutions over spans of 2, 3 and 4 words, ReLU, max-pooling over the sentence, linear layer.

    The sizes are those of MGIA's code (Liu et al., 2023): 256 filters for each span, 768 features, torch's default
    initialisation. The model takes `[B, 1, L, width]` word vectors, L at least 4, and returns logits `[B, K]`.

    Args:
        num_classes: K.
        width: Length of a word vector.
        head: Whether there is a last layer; without it the model returns the 768 features.

    Raises:
        AuditError: A number is below 1.
    """

    def __init__(self, num_classes: int, width: int = 100, *, head: bool = True) -> None:
        super().__init__()
        if num_classes < 1 or width < 1:
            raise AuditError(f"text-cnn: num_classes and width must be at least 1, got {num_classes} and {width}.")
        self.spans = nn.ModuleList(nn.Conv2d(1, FILTERS, (span, width)) for span in SPANS)
        self.head = nn.Linear(FILTERS * len(SPANS), num_classes) if head else nn.Identity()

    def forward(self, sentences: Tensor) -> Tensor:
        """Map `[B, 1, L, width]` to logits `[B, K]`, or to the features `[B, 768]` without a head."""
        found = [span(sentences).squeeze(3).relu().amax(2) for span in self.spans]
        return self.head(torch.cat(found, dim=1))
