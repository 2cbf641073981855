"""SPEAR: exact batches behind a ReLU, and where the method must refuse."""

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import gradaudit as ga
from conftest import make_batch
from gradaudit import Batch, Client, FedAvg, Knowledge, Level, Normalisation
from gradaudit.attacks.spear import ATTACK
from gradaudit.data.modalities import ImageHandling
from gradaudit.inversion.attack import TimeLimit
from gradaudit.models import build
from gradaudit.protocol.defenses import Clip, GaussianNoise, TopK
from gradaudit.values.errors import AttackFailed

NORMALISATION = Normalisation((0.4,), (0.25,))
QUICK = replace(ATTACK, starts=64)


def case(seed, size=8, model=None, **options):
    torch.manual_seed(seed)
    batch = make_batch(size, 1, 12, 10, seed)
    model = build("mlp", num_classes=10, channels=1, size=12) if model is None else model
    return batch, Client(model, normalisation=NORMALISATION, **options)


def layers(activation, **options):
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 100, **options), activation, nn.Linear(100, 10))


def farthest(batch, found):
    matched = ImageHandling().match(batch, found)
    return float((matched.inputs - batch.inputs).abs().max()), matched.order


@pytest.mark.parametrize("seed", range(3))
def test_recovers_a_batch_exactly_without_its_size_or_labels(seed):
    batch, client = case(seed)
    started = time.process_time()
    found = ATTACK(client.share(batch, Knowledge.NOTHING), seed=seed)
    error, order = farthest(batch, found)
    assert time.process_time() - started < 5  # about a fifth of a second
    assert error < 1e-3
    assert found.verified
    assert torch.equal(found.labels[order], batch.labels)


def test_inverts_the_sum_of_local_steps():
    batch, client = case(0, 4, training=FedAvg(learning_rate=0.01, epochs=3))
    found = ATTACK(client.share(batch, Level.BASIC | Knowledge.LOCAL_TRAINING))
    assert farthest(batch, found)[0] < 1e-3
    assert found.verified


def test_small_noise_costs_accuracy_and_much_noise_everything():
    batch, client = case(0, 4, defenses=[GaussianNoise(1e-6)])
    error = farthest(batch, QUICK(client.share(batch, Level.BASIC)))[0]
    assert 1e-5 < error < 0.1
    batch, client = case(0, 4, defenses=[GaussianNoise(1.0)])
    with pytest.raises(AttackFailed, match="no gap"):
        QUICK(client.share(batch, Level.BASIC))


def test_clipping_does_not_protect_and_is_verified_by_who_knows_it():
    batch, client = case(0, 4, defenses=[Clip(0.1)])
    seen = client.share(batch, Level.BASIC | Knowledge.DEFENSE)
    found = ga.adaptive(QUICK)(seen)
    assert farthest(batch, found)[0] < 1e-3
    assert found.verified


def test_repeats_examples_where_two_are_equal():
    batch, client = case(0, 4)
    batch = Batch(batch.inputs[[0, 0, 1, 2]], batch.labels[[0, 0, 1, 2]])
    found = QUICK(client.share(batch, Level.BASIC))
    assert found.inputs.shape == batch.inputs.shape
    assert any("below the batch size" in note for note in found.notes)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (layers(nn.Sigmoid()), "no ReLU follows it"),
        (layers(nn.GELU()), "no ReLU follows it"),
        (layers(nn.ReLU(), bias=False), "has no bias"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 10)), "not the input itself"),
    ],
    ids=["sigmoid", "gelu", "no-bias", "convolution"],
)
def test_refuses_other_networks(model, reason):
    batch, client = case(0, 2, model=model)
    with pytest.raises(AttackFailed, match=reason):
        QUICK(client.share(batch, Level.BASIC))


def test_refuses_a_batch_that_fills_the_gradient():
    _, client = case(0, 2, model=layers(nn.ReLU()))
    batch = Batch(torch.rand(100, 1, 12, 12), torch.arange(100) % 10)
    with pytest.raises(AttackFailed, match="fill all 100 dimensions"):
        QUICK(client.share(batch, Level.BASIC))


def test_refuses_a_sparse_update():
    batch, client = case(0, 4, defenses=[TopK(0.1)])
    with pytest.raises(AttackFailed, match=r"no gap|agree|found \d"):
        QUICK(client.share(batch, Level.BASIC))


def test_an_inplace_relu_changes_nothing():
    batch, client = case(0, 2, model=layers(nn.ReLU(inplace=True)))
    assert farthest(batch, QUICK(client.share(batch, Level.BASIC)))[0] < 1e-3


def test_a_time_limit_ends_the_search():
    batch, client = case(0)
    with pytest.raises(AttackFailed, match="in 0 starts"):
        ATTACK(client.share(batch, Level.BASIC), watch=TimeLimit(0.0))
