"""A federation of clients: it learns, equals a hand-written loop, and keeps what a defense remembers."""

import copy
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

import gradaudit as ga
from conftest import linear_net
from gradaudit.client.federation import accuracy, step, train_federation, update_bits
from gradaudit.client.federation_settings import Federation, partition, usual_rate
from gradaudit.protocol.defenses import Defense
from gradaudit.protocol.defenses._bits import encoded_bits
from gradaudit.protocol.local_training.losses.binary_cross_entropy import BinaryCrossEntropy, MultiLabel
from gradaudit.protocol.local_training.losses.mean_squared_error import MeanSquaredError
from gradaudit.protocol.local_training.losses.pixel_cross_entropy import PixelCrossEntropy
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Update, UpdateKind

CLASSES = 4
SMALL = Federation(clients=3, rounds=6, batch_size=8, examples=90, test_examples=60)
LOCAL = ga.FedAvg(learning_rate=0.5, minibatch_size=4)


@pytest.fixture(scope="module")
def data():
    """150 separable images of four classes: each class lights its own quarter."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(150) % CLASSES
    images = 0.3 * torch.rand(150, 1, 4, 4, generator=generator)
    for place in range(CLASSES):
        images[labels == place, :, place] += 0.6
    return SimpleNamespace(images=images, labels=labels, gather=lambda at: ga.Batch(images[at], labels[at]))


def client(training=LOCAL, defenses=(), net=None):
    torch.manual_seed(1)
    return ga.Client(net or linear_net(CLASSES), training, defenses)


def trained(data, member, federation=SMALL, seed=0):
    parts = partition(150, data.labels, federation, seed)
    return train_federation(member, data.gather, parts, federation, seed)


def scores(found):
    return [score.accuracy for score in found.scores]


def test_an_undefended_federation_learns_and_noise_destroys_it(data):
    for seed in range(3):
        plain = scores(trained(data, client(), seed=seed))
        noisy = scores(trained(data, client(defenses=[ga.defenses.GaussianNoise(std=1000.0)]), seed=seed))
        assert plain[-1] > 0.8
        assert plain[-1] > plain[0] + 0.2
        assert noisy[-1] < 0.6  # the chance of four classes is a quarter


@pytest.mark.parametrize(
    ("training", "rate"), [(ga.FedSGD(), 0.3), (LOCAL, 1.0)], ids=["gradients", "weight differences"]
)
def test_equals_a_loop_by_hand(data, training, rate):
    """FedAvg as McMahan et al. state it, with torch's own optimiser, on the batches that the clients drew."""
    federation = replace(SMALL, clients=2, rounds=3, examples=31, server_rate=rate)
    parts = partition(150, data.labels, federation, 7)
    assert [len(part) for part in parts.clients] == [16, 15]
    drawn, start = [], client(training)

    def gather(at):
        drawn.append(at)
        return data.gather(at)

    found = train_federation(start, gather, parts, federation, 7)
    batches = [at for at in drawn if set(at) <= {i for part in parts.clients for i in part.tolist()}]
    assert len(batches) == 6
    net = copy.deepcopy(start.model)
    for round_ in range(3):
        mean = [torch.zeros_like(parameter) for parameter in net.parameters()]
        for number, weight in enumerate((16 / 31, 15 / 31)):
            own, at = copy.deepcopy(net), batches[2 * round_ + number]
            inputs, labels = data.images[at], data.labels[at]
            if training.learning_rate is None:
                nn.functional.cross_entropy(own(inputs), labels).backward()
                change = [parameter.grad for parameter in own.parameters()]
            else:
                optimiser = torch.optim.SGD(own.parameters(), lr=0.5)
                for some in torch.arange(8).split(4):
                    optimiser.zero_grad()
                    nn.functional.cross_entropy(own(inputs[some]), labels[some]).backward()
                    optimiser.step()
                change = [a.detach() - b.detach() for a, b in zip(net.parameters(), own.parameters(), strict=True)]
            mean = [total + weight * one for total, one in zip(mean, change, strict=True)]
        with torch.no_grad():
            for parameter, one in zip(net.parameters(), mean, strict=True):
                parameter -= rate * one
    test = data.gather(parts.held_out)
    right = (net(test.inputs).argmax(1) == test.labels).float().mean()
    assert found.scores[-1].accuracy == pytest.approx(float(right), abs=1e-6)


def test_one_step_of_the_server_is_exact():
    net = linear_net(2, 3)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    one, other = ({name: torch.full_like(p, value) for name, p in net.named_parameters()} for value in (1.0, 4.0))
    del other["1.bias"]  # a defense kept it back
    step(net, [Update(one), Update(other)], [1, 3], 0.5)
    assert torch.allclose(net[1].weight, before[0] - 0.5 * (0.25 * 1 + 0.75 * 4))
    assert torch.allclose(net[1].bias, before[1] - 0.5 * 0.25)


def test_the_model_of_the_client_is_not_changed_and_equal_seeds_are_equal(data):
    member = client()
    before = copy.deepcopy(member.model.state_dict())
    state = torch.random.get_rng_state()
    one, other, third = (trained(data, member, seed=seed) for seed in (0, 0, 1))
    assert one == other != third
    assert all(torch.equal(before[name], value) for name, value in member.model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


@dataclass(frozen=True)
class _Counting(Defense):
    """Writes down how often it was asked by each client, and which examples it saw."""

    name: ClassVar[str] = "counting"
    seen: ClassVar[list] = []

    def apply(self, update, scene):
        scene.memory["rounds"] = scene.memory.get("rounds", 0) + 1
        self.seen.append((id(scene.memory), scene.memory["rounds"], scene.labels.tolist()))
        return update


def test_the_memory_of_a_defense_belongs_to_one_client_for_all_rounds(data):
    _Counting.seen.clear()
    trained(data, client(defenses=[_Counting()]))
    assert [rounds for _, rounds, _ in _Counting.seen] == [n for n in range(1, 7) for _ in range(3)]
    assert len({memory for memory, _, _ in _Counting.seen}) == 3


def test_all_strengths_train_on_the_same_batches(data):
    drawn = []
    for strength in (0.0, 1.0):
        _Counting.seen.clear()
        trained(data, client(defenses=[ga.defenses.GaussianNoise(std=strength), _Counting()]))
        drawn.append([labels for _, _, labels in _Counting.seen])
    assert drawn[0] == drawn[1]
    assert len({tuple(labels) for labels in drawn[0]}) > 12  # new examples in every round


def test_the_statistics_of_batch_norm_are_averaged(data):
    def net():
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, CLASSES))

    training = replace(LOCAL, batch_norm="train")
    member = client(training, net=net())
    one, other = (member.contribute(data.gather(at), seed=3) for at in (list(range(8)), list(range(8, 24))))
    step(member.model, [one, other], [1, 3], 1.0)
    expected = 0.25 * one.buffers["1.running_mean"] + 0.75 * other.buffers["1.running_mean"]
    assert torch.allclose(member.model[1].running_mean, expected)
    assert scores(trained(data, client(training, net=net())))[-1] > 0.7


def test_held_out_examples_are_never_trained_on(data):
    for alpha in (None, 0.5):
        parts = partition(150, data.labels, replace(SMALL, alpha=alpha), 3)
        everything = torch.cat([*parts.clients, parts.held_out]).tolist()
        assert len(set(everything)) == len(everything) == 150
        assert len(parts.held_out) == 60
    skewed = partition(150, data.labels, replace(SMALL, alpha=0.05), 3).clients
    even = partition(150, data.labels, SMALL, 3).clients
    assert [len(part) for part in even] == [30, 30, 30]

    def purity(part):
        return float(torch.bincount(data.labels[part]).max()) / len(part)

    assert min(map(purity, skewed)) > max(map(purity, even))


@pytest.mark.parametrize(
    ("change", "labels", "words"),
    [
        ({"examples": 100}, True, "needs 160 examples, 100 to train on and 60 held out. The data has 150"),
        ({"clients": 91}, True, "90 are fewer than the 91 clients"),
        ({"alpha": 0.1}, False, "federation.alpha: divides the examples by class"),
        ({"alpha": 1e-6, "clients": 40}, True, "leaves a client without examples"),
    ],
)
def test_an_impossible_partition_is_refused(data, change, labels, words):
    with pytest.raises(AuditError, match=words):
        partition(150, data.labels if labels else None, replace(SMALL, **change), 0)


@pytest.mark.parametrize(("rate", "round_"), [(1e60, 1), (1e30, 2)], ids=["the model", "an update"])
def test_a_model_that_diverges_keeps_its_last_finite_accuracy(data, rate, round_):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, CLASSES))
    found = trained(data, client(net=net), replace(SMALL, server_rate=rate))
    assert found.diverged == round_
    assert found.scores[-1].number == 6
    assert found.scores[-1].accuracy == found.scores[-2].accuracy
    assert trained(data, client(net=net)).diverged is None


class _Signs(Defense):
    """Sends signs, which have no scale."""

    name: ClassVar[str] = "signs"
    server_rate: ClassVar[float | None] = 0.001


def test_the_step_size_of_the_server():
    assert usual_rate(client(), 8) == 1.0
    assert usual_rate(client(ga.FedSGD()), 8) == 0.1
    mean = ga.LocalTraining(learning_rate=0.5, minibatch_size=4, update="gradient")
    assert mean.kind is UpdateKind.GRADIENT
    assert usual_rate(client(mean), 8) == 1.0  # 0.5 times two steps, which is that of the weight difference
    signed = client(defenses=[_Signs()])
    assert usual_rate(signed, 8) == 0.001
    assert replace(SMALL, server_rate={"signs": 0.02}).rate(signed) == 0.02
    assert replace(SMALL, server_rate={"signs": 0.02}).rate(client()) == 1.0
    assert replace(SMALL, server_rate=0.7).rate(signed) == 0.7


def test_bits_are_those_of_the_smallest_encoding():
    torch.manual_seed(0)
    dense = torch.randn(3000)
    sparse = torch.where(torch.arange(3000) < 30, dense, torch.zeros(()))
    signs = dense.sign()
    levels = (dense * 3).round().clamp(-7, 8)
    assert encoded_bits((dense,)) == 32 * 3000
    assert encoded_bits((sparse,)) == 30 * (32 + 12)
    assert encoded_bits((signs,)) == 3000 + 2 * 32
    assert encoded_bits((levels,)) == 4 * 3000 + 32 * len(levels.unique())
    assert encoded_bits((torch.zeros(50), torch.zeros(0))) == 0
    assert encoded_bits((dense, signs)) == encoded_bits((dense,)) + encoded_bits((signs,))
    top = ga.defenses.TopK(keep=0.01)
    assert update_bits([top], top(Update({"w": dense}))) == 30 * 44
    assert update_bits([], Update({"w": dense})) == 96_000


def test_what_counts_as_correct():
    """One rule for each loss; regression has none and is refused."""
    logits = torch.tensor([[1.0, 3.0], [2.0, -1.0]])
    assert ga.FedSGD().loss.correct(logits, torch.tensor([1, 1])).tolist() == [1, 0]
    assert ga.FedSGD().loss.correct(logits, torch.tensor([[0.2, 0.8], [0.9, 0.1]])).tolist() == [1, 1]
    assert BinaryCrossEntropy().correct(torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 1])).tolist() == [1, 0]
    assert MultiLabel().correct(logits, torch.tensor([[1.0, 1.0], [0.0, 0.0]])).tolist() == [1, 0.5]
    masks = torch.tensor([[[0, 1], [1, 1]]])
    pixels = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)], 1)
    assert PixelCrossEntropy().correct(pixels, masks).tolist() == [0.75]
    assert MeanSquaredError().correct(logits, logits) is None


def test_a_loss_without_a_rule_is_refused(data):
    member = client(replace(LOCAL, loss=MeanSquaredError()))
    gather = lambda at: ga.Batch(data.images[at], nn.functional.one_hot(data.labels[at], CLASSES).float())  # noqa: E731
    with pytest.raises(AuditError, match=r"no accuracy is defined under training\.loss: MeanSquaredError"):
        accuracy(member, gather, torch.arange(4))


def test_the_points_of_a_long_training_are_few(data):
    found = trained(data, client(ga.FedSGD()), replace(SMALL, clients=1, rounds=60, batch_size=2))
    assert [score.number for score in found.scores] == [0, *range(2, 61, 2)]
    assert math.isclose(found.scores[-1].bits, 60 * 32 * sum(p.numel() for p in client().model.parameters()))
