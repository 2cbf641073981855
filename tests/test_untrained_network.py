"""CI-Net and GION: the network that makes the pictures, its size, and what the attacks recover without labels."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, FedAvg, Knowledge, Level, Normalisation
from gradaudit.attacks.ci_net import ATTACK as CI_NET
from gradaudit.attacks.gion import ATTACK as GION
from gradaudit.inversion.parts.gradient_transforms import Sign
from gradaudit.inversion.parts.objectives import Cosine, Euclidean
from gradaudit.inversion.parts.optimisers import Adam
from gradaudit.inversion.parts.parametrisations import UntrainedNetwork
from gradaudit.inversion.parts.simulations import Segment, Unrolled
from gradaudit.inversion.run import keeper
from gradaudit.values.errors import AttackFailed
from gradaudit.values.types import Batch
from properties import short
from recovery import drawn, gain, kinked_net
from test_keeper import assert_equal, stopping
from text_cases import ENCODED, FlatText, random_texts


def test_the_papers_parameters():
    stage = CI_NET.stages[0]
    assert (CI_NET.objective, stage.steps, stage.optimiser, stage.gradient, stage.terms) == (
        Cosine(),
        5000,
        Adam(lr=1e-3),
        (Sign(),),
        (),
    )
    parts = stage.parametrisation
    assert (parts.noise, parts.width, parts.excess, parts.labels) == (128, 32, 4.0, False)
    assert GION.stages[0].parametrisation == replace(parts, labels=True)
    assert not GION.needs & Knowledge.LABELS


@pytest.mark.parametrize(
    ("shape", "examples", "width"),
    [((3, 32, 32), 1, 32), ((3, 32, 32), 4, 32), ((3, 32, 32), 64, 64), ((3, 64, 64), 256, 256), ((1, 48, 32), 16, 32)],
)
def test_the_width_doubles_until_the_network_has_enough_parameters(shape, examples, width):
    """Width by the rule; at half of it, unless that is below the first one, there were too few."""
    counts = {}
    for first in (width, width // 2):
        net = UntrainedNetwork(width=first, excess=0.0).network(shape, examples)
        assert net.image[0].out_channels == first
        counts[first] = sum(parameter.numel() for parameter in net.parameters())
    enough = 4 * examples * math.prod(shape[1:])
    assert UntrainedNetwork().network(shape, examples).image[0].out_channels == width
    assert counts[width] > enough
    assert width == 32 or counts[width // 2] <= enough


@pytest.mark.parametrize(
    ("size", "first", "blocks"),
    [((32, 32), (4, 4), 3), ((28, 28), (7, 7), 2), ((21, 35), (3, 5), 3), ((224, 224), (7, 7), 5), ((4, 3), (2, 2), 1)],
)
def test_first_map_and_doublings(size, first, blocks):
    net = UntrainedNetwork(noise=4).network((1, *size), 1)
    assert net.image[0].kernel_size == first
    assert sum(isinstance(layer, torch.nn.Upsample) for layer in net.image) == blocks
    assert all(side <= start * 2**blocks for side, start in zip(size, first, strict=True))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 21, 35), (1, 4, 3), (2, 1, 1)])
def test_pictures_of_any_size(shape):
    channels, *_ = shape
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(shape), 5))
    client = Client(net, normalisation=Normalisation((0.5,) * channels, (0.25,) * channels))
    seen = client.share(Batch(torch.rand(2, *shape), torch.tensor([1, 2])), Level.BASIC)
    candidate = UntrainedNetwork(labels=True).start(seen, 3, None)
    assert candidate.decode().shape == (3, 2, *shape)
    assert candidate.decode().min() < 0  # normalised
    reported = candidate.reported(seen)
    assert 0 <= reported.min() < reported.max() <= 1
    assert not torch.equal(reported[0], reported[1])
    assert not torch.equal(reported[0, 0], reported[0, 1])
    assert candidate.logits().shape == (3, 2, 5)
    assert UntrainedNetwork().start(seen, 1, None).logits() is None


def test_what_it_cannot_make_is_refused(client, batch):
    words = random_texts(2, ENCODED, 5, 5)
    text = Client(FlatText(words.inputs.shape[1])).share(words, Level.BASIC)
    with pytest.raises(AttackFailed, match=r"generates images \[C, H, W\]"):
        UntrainedNetwork().start(text, 1, None)
    seen = client.share(batch, Level.BASIC)
    with pytest.raises(AttackFailed, match="only in an attack's first stage"):
        UntrainedNetwork().start(seen, 1, UntrainedNetwork().start(seen, 1, None))
    with pytest.raises(AttackFailed, match="width"):
        UntrainedNetwork(width=0)


def measured(attack, seed):
    """Photographs on a small network with kinks: the gain, and whether the labels are right."""
    batch, control = drawn(seed, 2)
    found = attack(Client(kinked_net()).share(batch, attack.needs, seed=seed), seed=seed)
    return gain(found, batch, control), sorted(found.labels.tolist()) == sorted(batch.labels.tolist())


@pytest.mark.parametrize(("attack", "steps"), [(CI_NET, 40), (GION, 60)], ids=["ci-net", "gion"])
def test_recovers_photographs(attack, steps):
    gains, right = zip(*(measured(short(attack, steps), seed) for seed in range(2)), strict=True)
    assert sum(gains) / 2 > 2, gains  # measured: 6.8 and 6.2; 8.8 and 7.2 over four other seeds
    assert all(right)


def test_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """The noise that a resumed run draws is that of the first one, also in its second restart."""
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    small = replace(GION.stages[0], parametrisation=UntrainedNetwork(noise=8, width=4, labels=True))
    attack = short(replace(GION, stages=(small,), restarts=2, seeds=2), 6)
    seen = Client(smooth_net()).share(make_batch(2), Level.BASIC)
    expected = attack(seen, seed=3)
    watch, _ = stopping(9)
    with pytest.raises(KeyboardInterrupt):
        attack(seen, seed=3, watch=watch, keep=tmp_path / "run")
    assert_equal(attack(seen, seed=3, keep=tmp_path / "run"), expected)


@pytest.mark.parametrize("simulation", [Unrolled(), Segment()], ids=repr)
def test_works_with_every_simulation(simulation):
    """Weights of the network and variables of the simulation have rates of their own."""
    known = Level.BASIC | Knowledge.LABELS | Knowledge.LOCAL_TRAINING
    seen = Client(smooth_net(), FedAvg(learning_rate=0.1, epochs=2)).share(make_batch(3), known)
    found = replace(short(CI_NET, 8), objective=Euclidean(), simulation=simulation)(seen)
    assert found.inputs.shape == (3, 1, 8, 8)
    assert found.objective < found.trace[0][0][1]
