"""The quotients of a sentence CNN's filters: whole sentences, runs of words, and where the attack refuses."""

from functools import cache

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, FedAvg, FedSGD
from gradaudit.attacks._windows import joined, numbered, sentences
from gradaudit.attacks.window_quotients import ATTACK
from gradaudit.data.word_vectors import learn_word_vectors
from gradaudit.models import build
from gradaudit.models.text_cnn import TextCNN
from gradaudit.protocol.defenses import Clip, GaussianNoise
from gradaudit.values.errors import AttackFailed

SENTENCES = (
    "a woman in an orange suit",
    "the man saw the man behind the film camera",
    "a wall of old bricks and a wall of new bricks",
    "many dogs run over the green grass of the park",
)


TWICE = "old bricks behind film old bricks behind green old bricks behind"


@cache
def vectors():
    return learn_word_vectors(SENTENCES, width=20)


def share(sentence, model, defenses=(), training=None, granted=("BATCH_SIZE",), repeats=1):
    rows = vectors().rows(sentence)[None].repeat(repeats, 1)
    batch = Batch(vectors().encode(rows), torch.tensor([2]).repeat(repeats))
    client = Client(model, training or FedSGD(), normalisation=vectors().normalisation, defenses=defenses)
    return client.share(batch, list(granted))


def read(found):
    return vectors().sentence(vectors().decode(found.inputs)[0])


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("seed", range(2))
def test_recovers_sentence_and_label(sentence, seed):
    torch.manual_seed(seed)
    found = ATTACK(share(sentence, TextCNN(7, 20)))
    assert read(found) == sentence
    assert found.verified
    assert found.labels.tolist() == [2]


def test_neither_the_learning_rate_nor_clipping_matters():
    seen = share(SENTENCES[1], TextCNN(7, 20), training=FedAvg(learning_rate=0.3))
    assert read(ATTACK(seen)) == SENTENCES[1]
    clipped = ATTACK(share(SENTENCES[1], TextCNN(7, 20), defenses=[Clip(0.01)]))
    assert read(clipped) == SENTENCES[1]
    assert not clipped.verified
    assert "the recomputed update differs" in clipped.notes[0]


def test_a_sentence_whose_order_is_open_is_not_verified():
    torch.manual_seed(0)
    found = ATTACK(share(TWICE, TextCNN(7, 20)))
    assert not found.verified
    assert "8 of them explain the update equally well" in found.notes[0]


class FewFilters(nn.Module):
    """Three filters over two words: they cannot cover a sentence of nine."""

    def __init__(self):
        super().__init__()
        self.span, self.head = nn.Conv2d(1, 3, (2, 20)), nn.Linear(3, 7)

    def forward(self, x):
        return self.head(self.span(x).squeeze(3).relu().amax(2))


def test_few_filters_give_runs_of_words_and_no_certainty():
    found = ATTACK(share(SENTENCES[1], FewFilters()))
    assert not found.verified
    assert 0 < found.objective < 1
    assert "of 9 words in" in found.notes[0]
    count = round((1 - found.objective) * 9)
    assert set(read(found).split()[:count]) <= set(SENTENCES[1].split())


def test_noise_is_refused():
    with pytest.raises(AttackFailed, match="has 12: a defense changed the update"):
        ATTACK(share(SENTENCES[0], TextCNN(7, 20), defenses=[GaussianNoise(1e-3)]))


class Padded(FewFilters):
    """A convolution with padding, whose windows may contain zeros."""

    def __init__(self):
        super().__init__()
        self.span = nn.Conv2d(1, 3, (2, 20), padding=(1, 0))


@pytest.mark.parametrize("model", [Padded, lambda: build("lenet", num_classes=7, channels=1, size=20)])
def test_refuses_other_models(model):
    batch = Batch(torch.rand(1, 1, 20, 20), torch.tensor([1]))
    with pytest.raises(AttackFailed, match="no convolution over whole words"):
        ATTACK(Client(model()).share(batch, ["BATCH_SIZE"]))


def test_refuses_batches_and_several_steps():
    with pytest.raises(AttackFailed, match="more than one"):
        ATTACK(share(SENTENCES[0], TextCNN(7, 20), repeats=2))
    granted, steps = ("BATCH_SIZE", "LOCAL_TRAINING"), FedAvg(learning_rate=0.1, epochs=2)
    with pytest.raises(AttackFailed, match="several"):
        ATTACK(share(SENTENCES[0], TextCNN(7, 20), training=steps, granted=granted))


def test_windows_are_joined_where_they_overlap():
    assert sentences({(1, 2, 3), (2, 3, 1), (3, 1, 2), (2, 4), (1, 2)}, 6, 50) == ([(1, 2, 3, 1, 2, 4)], True)
    assert sentences({(1, 2), (2, 1), (1, 3), (3, 1)}, 5, 1)[1] is False
    assert sentences({(1, 2), (3, 4)}, 4, 50) == ([], True)
    assert joined({(1, 2, 3), (2, 3, 4), (7, 8)}) == [(1, 2, 3, 4), (7, 8)]


def test_words_within_the_tolerance_are_one():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1e-4]])
    distinct, numbers = numbered(rows, 1e-3)
    assert numbers == [0, 1, 0]
    assert distinct.tolist() == [[1.0, 0.0], [0.0, 1.0]]
