"""The Cocktail Party Attack: batches of photographs unmixed from a linear layer, with any activation behind it."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from gradaudit import Batch, Client, Level, Normalisation, SecureAggregation, metrics
from gradaudit.attacks.cocktail_party import ATTACK
from gradaudit.data.modalities import ImageHandling
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.attack import TimeLimit
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed

NORMALISATION = Normalisation((0.48, 0.46, 0.41), (0.25, 0.24, 0.26))
SHORT = replace(ATTACK, steps=300)


@cache
def photographs():
    return SOURCES["photographs"](size=32).open()


def case(seed, size=4, **options):
    torch.manual_seed(seed)
    picked = torch.randperm(len(photographs()), generator=torch.Generator().manual_seed(seed)).tolist()
    batch = Batch(photographs().stack(picked[:size]), torch.arange(size) % 10)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.Sigmoid(), nn.Linear(64, 10))
    control = photographs().stack(picked[size:]).mean(0, keepdim=True).expand_as(batch.inputs)
    return batch, model, control


def gain(batch, found, control):
    matched = ImageHandling().match(batch, found).inputs
    return metrics.psnr(matched, batch.inputs).mean() - metrics.psnr(control, batch.inputs).mean()


@pytest.mark.parametrize("seed", range(3))
def test_beats_the_mean_image_behind_a_sigmoid(seed):
    batch, model, control = case(seed)
    seen = Client(model, normalisation=NORMALISATION).share(batch, Level.BASIC)
    assert gain(batch, SHORT(seen, seed=seed), control) > 2


def test_noise_leaves_nothing():
    batch, model, control = case(0)
    client = Client(model, normalisation=NORMALISATION, defenses=[GaussianNoise(1.0)])
    assert gain(batch, SHORT(client.share(batch, Level.BASIC)), control) < 0.5


def test_unmixes_the_sum_of_two_clients():
    batch, model, control = case(1)
    clients = SecureAggregation(model, normalisation=NORMALISATION, sizes=(2, 2))
    assert gain(batch, SHORT(clients.share(batch, Level.BASIC)), control) > 2


def test_refuses_more_images_than_units():
    batch, model, _ = case(0, 4)
    model[1], model[3] = nn.Linear(3072, 3), nn.Linear(3, 10)
    with pytest.raises(AttackFailed, match="exceed the 3 dimensions"):
        SHORT(Client(model).share(batch, Level.BASIC))


def test_a_time_limit_cuts_the_run():
    batch, model, _ = case(0, 2)
    found = SHORT(Client(model).share(batch, Level.BASIC), watch=TimeLimit(0.0))
    assert found.cut == (1, 300)
