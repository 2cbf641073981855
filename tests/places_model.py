"""A text model small enough for any test, and an attack on it that recovers what it should."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from gradaudit import Knowledge, Reconstruction
from gradaudit.inversion.run.refusal import require_fit


class Places(nn.Module):
    """Embedding, a learned weight per place, mean, linear head: `[B, L]` ids or `[B, L, d]` embeddings -> `[B, K]`."""

    def __init__(self, vocabulary=400, width=6, classes=2, length=20):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.rand(length, 1) + 0.5)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs):
        vectors = inputs if inputs.is_floating_point() else self.token_embedding(inputs)
        return self.head((vectors * self.places[: vectors.shape[1]]).mean(1))


def places():
    """For `model.factory` of an audit file."""
    return Places()


@dataclass(frozen=True)
class Reader:
    """Reads one text off `Places`: the gradient of place t is its token's embedding times dL/d mean, over L.

    Which tokens are there at all is read off the embedding's own gradient; so it needs that, and a batch of one.
    """

    name: str = "reader"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.LABELS | Knowledge.EMBEDDING_GRADIENT

    def __call__(self, seen, *, seed=0, watch=None):
        require_fit(self, seen.knowledge, seen.modality)
        model, update, length = seen.model, seen.update.tensors, seen.input_shape[0]
        slope = update["head.bias"] @ model.head.weight  # dL / d mean
        inner = model.token_embedding.weight @ slope / length  # [V]
        present = update["token_embedding.weight"].abs().sum(1) > 0
        far = (update["places"][:length] - inner[None]).abs()  # [L, V]
        ids = far.masked_fill(~present, float("inf")).argmin(1)[None]
        return Reconstruction(ids, seen.labels, 0.0, labels_granted=True, notes=("Read off, not searched.",))


READER = Reader()
