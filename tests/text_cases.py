"""Small texts and the clients that learn from them, for the tests of attacks on text."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, Knowledge
from gradaudit.values.types import Modality, TextLayout

VOCABULARY = 60
ENCODED = TextLayout(VOCABULARY, 0, (1,), (2,))  # padding, [CLS], [SEP]
DECODED = TextLayout(VOCABULARY, 0)
GRANTED = Knowledge.BATCH_SIZE | Knowledge.LABELS | Knowledge.PUBLIC_DATA


def bert(seed=0, spread=0.05, **options):
    """A small encoder."""
    pytest.importorskip("transformers")
    from gradaudit.models import TEXT_MODELS

    torch.manual_seed(seed)
    sizes = {"width": 32, "length": 16, "spread": spread} | options
    return TEXT_MODELS["tiny-bert"](2, VOCABULARY, **sizes).eval()


def gpt2(seed=0, vocabulary=VOCABULARY, width=64, pad_id=0, **options):
    """A small decoder."""
    pytest.importorskip("transformers")
    from gradaudit.models import TEXT_MODELS

    torch.manual_seed(seed)
    return TEXT_MODELS["tiny-gpt2"](2, vocabulary, width=width, pad_id=pad_id, **options).eval()


class FlatText(nn.Module):
    """Embeddings side by side through one smooth hidden layer: every place has weights of its own."""

    def __init__(self, length=7, width=16):
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.token_embedding.weight, std=0.1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(length * width, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, inputs):
        return self.head(inputs if inputs.is_floating_point() else self.token_embedding(inputs))


def texts(rows, layout):
    """Rows of free tokens, framed and padded; labels alternate."""
    framed = [[*layout.opening, *row, *layout.closing] for row in rows]
    length = max(map(len, framed))
    inputs = torch.tensor([row + [layout.padding] * (length - len(row)) for row in framed])
    lengths = torch.tensor([len(row) for row in framed])
    return Batch(inputs, torch.arange(len(rows)) % 2, Modality.TEXT, lengths, layout)


def random_texts(size, layout=ENCODED, shortest=4, longest=7, seed=0):
    """Random words; no two of one text are alike."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(size):
        length = int(torch.randint(shortest, longest + 1, (), generator=generator))
        rows.append((torch.randperm(layout.size - 3, generator=generator)[:length] + 3).tolist())
    return texts(rows, layout)


def public_texts(layout=ENCODED):
    """Texts whose words only ever come in ascending order, one after the other."""
    return texts([[3 + (start + k) % (layout.size - 3) for k in range(6)] for start in range(layout.size - 9)], layout)


def share(batch, model=None, knowledge=GRANTED, defenses=(), public=None):
    """What an adversary sees of it."""
    public = public_texts(batch.text) if public is None else public
    return Client(model or bert(), defenses=defenses).share(batch, knowledge, public=public)


def accuracy(found, batch):
    """Share of the free tokens that are right."""
    free = ~torch.isin(batch.inputs, torch.tensor(batch.text.special))
    return float((found.inputs == batch.inputs)[free].double().mean())


def short(attack, steps):
    """The attack with so many steps in its last stage, and a small search before it."""
    from gradaudit.inversion.parts.moves import RandomStart

    first = tuple(replace(stage, moves=(RandomStart(20, 20),)) for stage in attack.stages[:-1])
    return replace(attack, stages=(*first, replace(attack.stages[-1], steps=steps)))
