"""The parts of attacks on several local steps: copies per epoch, weighted objectives, several rounds as one."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, FedAvg, FedSGD, Knowledge, Level, SecureAggregation
from gradaudit.client.participant import own_seed
from gradaudit.inversion.parts.labels._head import displacement, local_steps
from gradaudit.inversion.parts.objectives import Cosine, Euclidean, MeanStep, PerRound, WeightedCosine
from gradaudit.inversion.parts.objectives._layer_numbers import layer_numbers
from gradaudit.inversion.parts.objectives._rounds import joined
from gradaudit.inversion.parts.parametrisations import EpochCopies, Pixels
from gradaudit.inversion.parts.parametrisations.epoch_copies import average
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.parts.priors import EpochOrder
from gradaudit.inversion.parts.simulations import AsGradient, Unrolled, UnrolledCopies
from gradaudit.inversion.step.matching import Matching
from gradaudit.values.errors import AttackFailed, AuditError
from gradaudit.values.types import Batch

AT = Progress(0, 1)
FACTS = Level.BASIC | Knowledge.LABELS | Knowledge.LOCAL_TRAINING
STEPS = FedAvg(learning_rate=0.1, epochs=3, minibatch_size=2)
ORDERS = [EpochOrder(), EpochOrder("max"), EpochOrder(features="convolution"), EpochOrder("max", "convolution", "l1")]


def private(count=4, labels=None):
    batch = make_batch(count)
    return Batch(batch.inputs.double(), batch.labels if labels is None else labels)


def share(training=STEPS, batch=None, facts=FACTS, seed=0, sizes=None):
    torch.manual_seed(0)
    net, batch = smooth_net().double(), batch or private()
    client = SecureAggregation(net, training, sizes=sizes) if sizes else Client(net, training)
    return client.share(batch, facts, seed=seed)


def value(seen, simulation, inputs, labels, objective):
    matching = Matching(seen, objective.bind(seen), simulated=simulation.bind(seen))
    return float(matching.value(inputs, labels, AT))


def test_layers_are_told_by_their_names():
    assert layer_numbers(["conv.weight", "conv.bias", "norm.weight", "head.0.weight", "head.0.bias"]) == [0, 0, 1, 2, 2]
    assert layer_numbers(["weight", "bias"]) == [0, 0]


def test_weighted_objectives_by_hand():
    seen = share()  # conv, norm and linear layer, two tensors each
    ones = tuple(torch.ones_like(tensor) for tensor in seen.update.values)
    sizes = [float(tensor.numel()) for tensor in ones]
    layers = [sizes[0] + sizes[1], sizes[2] + sizes[3], sizes[4] + sizes[5]]
    unit = 0.1 * 6
    doubled = tuple(2 * tensor for tensor in ones)
    found = float(MeanStep(decay=0.5).bind(seen)(doubled, ones, AT))
    assert found == pytest.approx(sum(n * math.exp(-0.5 * i) for i, n in enumerate(layers)) / unit**2)
    turned = (-ones[0], -ones[1], *ones[2:])
    weights = [1.0, 5.5, 10.0]
    inner = -layers[0] + sum(w * n for w, n in zip(weights[1:], layers[1:], strict=True))
    total = sum(w * n for w, n in zip(weights, layers, strict=True))
    assert float(WeightedCosine(last=10).bind(seen)(turned, ones, AT)) == pytest.approx(1 - inner / total)
    assert float(WeightedCosine(last=1).bind(seen)(turned, ones, AT)) == pytest.approx(
        float(Cosine()(turned, ones, AT))
    )


def test_the_matching_weight_runs_geometrically():
    one, other = (torch.ones(2),), (torch.zeros(2),)
    values = [float(MeanStep(first=4, last=1)(one, other, Progress(step, 2))) for step in (0, 1, 2)]
    assert values == pytest.approx([8, 4, 2])
    assert MeanStep(first=4, last=1).varies
    assert not MeanStep().varies


@pytest.mark.parametrize("wrong", [lambda: MeanStep(-1), lambda: MeanStep(1, 0), lambda: WeightedCosine(0)])
def test_weights_out_of_range(wrong):
    with pytest.raises(AttackFailed, match="positive"):
        wrong()


def test_copies_are_averaged_in_the_order_of_the_first_epoch():
    truth = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    noise = 0.05 * torch.randn(3, 5, 1, 4, 4, dtype=torch.float64)
    shuffled = [torch.arange(5), *(torch.randperm(5) for _ in range(2))]
    copies = torch.stack([(truth + one)[order] for one, order in zip(noise, shuffled, strict=True)])
    torch.testing.assert_close(average(copies), truth + noise.mean(0))
    torch.testing.assert_close(average(copies[:1]), copies[0])


def test_there_is_a_copy_for_every_epoch():
    seen = share()
    candidate = EpochCopies().start(seen, 2, None)
    assert candidate.decode().shape == (2, 12, 1, 8, 8)
    assert candidate.reported(seen).shape == (2, 4, 1, 8, 8)
    candidate.variables["pixels"].mul_(100)
    candidate.project()
    assert 0 <= candidate.decode().min() < candidate.decode().max() <= 1
    plain = Pixels().start(seen, 2, None)
    torch.testing.assert_close(EpochCopies().start(seen, 2, plain).decode(), plain.decode().repeat(1, 3, 1, 1, 1))
    torch.testing.assert_close(EpochCopies().start(seen, 2, candidate).decode(), candidate.decode())


@pytest.mark.parametrize("prior", ORDERS, ids=repr)
def test_the_order_within_an_epoch_costs_nothing(prior):
    penalty = prior.bind(share())
    truth = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    shuffled = torch.cat([truth[torch.randperm(4)] for _ in range(3)])
    assert float(penalty(shuffled, AT)) == pytest.approx(0, abs=1e-12)
    assert float(penalty(torch.rand(12, 1, 8, 8, dtype=torch.float64), AT)) > 1e-3
    assert float(prior.bind(share(FedSGD()))(truth, AT)) == 0
    guess = torch.rand(6, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: penalty(x, AT), (guess,))
    with pytest.raises(AttackFailed, match="3 copies"):
        penalty(truth, AT)


def test_the_order_prior_by_hand():
    """Means 1, 3 and 3 of the three epochs: squares 4, 4 and 0, mean 8 / 3."""
    epochs = torch.tensor([0.0, 2, 3, 3, 2, 4]).view(6, 1, 1, 1)
    assert float(EpochOrder().bind(share())(epochs, AT)) == pytest.approx(8 / 3)
    assert float(EpochOrder("max").bind(share())(epochs, AT)) == pytest.approx((1 + 4 + 1) / 3)
    assert float(EpochOrder(norm="l1").bind(share())(epochs, AT)) == pytest.approx(4 / 3)


@pytest.mark.parametrize("sizes", [None, (3, 1)], ids=["one client", "two clients"])
@pytest.mark.parametrize("training", [STEPS, replace(STEPS, momentum=0.9), FedSGD()], ids=["sgd", "momentum", "fedsgd"])
def test_copies_of_the_truth_explain_the_update(training, sizes):
    seen, batch = share(training, sizes=sizes), private()
    copies = batch.inputs.repeat(training.epochs, 1, 1, 1)
    assert value(seen, UnrolledCopies(), copies, batch.labels, Euclidean()) < 1e-20
    assert value(seen, UnrolledCopies(checkpoint=True), copies, batch.labels, Euclidean()) < 1e-20
    assert value(seen, UnrolledCopies(), copies.flip(-1), batch.labels, Euclidean()) > 1e-6
    if training.epochs > 1:
        with pytest.raises(AttackFailed, match="3 copies of 4 examples"):
            value(seen, UnrolledCopies(), batch.inputs, batch.labels, Euclidean())


def test_copies_explain_a_shuffling_client_where_one_guess_cannot():
    """Labels being equal, some order of every epoch's copies is the client's; one order for all epochs is not."""
    training, batch = replace(STEPS, shuffle=True, minibatch_size=1), private(labels=torch.zeros(4, dtype=torch.long))
    seen = share(training, batch, seed=3)
    torch.manual_seed(0)
    bound = UnrolledCopies().bind(seen)
    mine = [order - 4 * epoch for epoch, order in enumerate(bound.orders)]
    found = training.orders(4, own_seed("training", 3, batch))  # as the audit alone can know them
    copies = torch.cat([batch.inputs[found[e]][torch.argsort(mine[e])] for e in range(3)])
    assert float(Matching(seen, Euclidean(), simulated=bound).value(copies, batch.labels, AT)) < 1e-20
    assert value(seen, Unrolled(order="random"), batch.inputs, batch.labels, Euclidean()) > 1e-8


def rounds(batch, count=2, training=STEPS, facts=FACTS):
    """The same batch, trained on in several rounds from models further and further on."""
    torch.manual_seed(0)
    net, seen = smooth_net().double(), []
    for _ in range(count):
        seen.append(Client(net, training).share(batch, facts))
        with torch.no_grad():
            for name, moved in seen[-1].update.tensors.items():
                net.get_parameter(name).sub_(moved)
    return seen


def test_rounds_join_into_one_gradient():
    batch = private()
    parts = rounds(batch, training=FedSGD())
    seen = joined(parts)
    assert seen.classes == 10
    assert seen.training is None
    assert Knowledge.LOCAL_TRAINING not in seen.knowledge
    found = AsGradient().bind(seen)(batch.inputs, batch.labels, {})
    for mine, theirs in zip(found, [tensor for one in parts for tensor in one.update.values], strict=True):
        torch.testing.assert_close(mine, theirs)
    objective = PerRound(WeightedCosine())
    assert value(seen, AsGradient(), batch.inputs, batch.labels, objective) == pytest.approx(0, abs=1e-12)
    guess = batch.inputs.flip(-1)
    alone = [value(one, AsGradient(), guess, batch.labels, WeightedCosine()) for one in parts]
    assert value(seen, AsGradient(), guess, batch.labels, objective) == pytest.approx(sum(alone) / 2)
    assert value(parts[0], AsGradient(), guess, batch.labels, objective) == pytest.approx(alone[0])


def test_rounds_that_do_not_belong_together():
    parts = rounds(private())
    with pytest.raises(AttackFailed, match="at least one"):
        joined([])
    with pytest.raises(AttackFailed, match="one batch"):
        joined([parts[0], share(FedSGD())])
    with pytest.raises(AttackFailed, match="share all"):
        joined(rounds(private(), training=replace(STEPS, shared=("1.*",)))[:1])


def test_parts_refuse_what_they_cannot_know():
    hidden = share(facts=Level.BASIC | Knowledge.LABELS)
    for bind in (
        UnrolledCopies().bind,
        EpochOrder().bind,
        MeanStep().bind,
        lambda seen: EpochCopies().start(seen, 1, None),
    ):
        with pytest.raises(AuditError, match="local training"):
            bind(hidden)


COUNTED = {
    "sgd": {"epochs": 3, "minibatch_size": 2},
    "momentum": {"epochs": 3, "momentum": 0.9},
    "nesterov": {"epochs": 3, "momentum": 0.9, "nesterov": True},
    "as a gradient": {"epochs": 3, "minibatch_size": 2, "update": "gradient"},
    "momentum as a gradient": {"epochs": 3, "momentum": 0.9, "update": "gradient"},
}


@pytest.mark.parametrize("sizes", [None, (2, 2)], ids=["one client", "two clients"])
@pytest.mark.parametrize("details", COUNTED.values(), ids=COUNTED)
def test_the_mean_gradient_that_labels_are_counted_from(details, sizes):
    """With tiny steps every gradient is the first one."""
    facts = Level.BASIC | Knowledge.LOCAL_TRAINING
    several = share(FedAvg(learning_rate=1e-7, **details), facts=facts, sizes=sizes)
    found, wanted = several.update.tensors["4.bias"] / displacement(several), share(FedSGD()).update.tensors["4.bias"]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


def test_steps_of_clients_of_different_sizes():
    training = FedAvg(learning_rate=0.1, epochs=2, minibatch_size=2)
    facts = Level.BASIC | Knowledge.LOCAL_TRAINING
    assert displacement(share(training, facts=facts, sizes=(3, 1))) == pytest.approx(0.1 * (3 / 4 * 4 + 1 / 4 * 2))
    assert local_steps(share(training, facts=facts, sizes=(3, 1))) == 4
    assert local_steps(share(replace(training, minibatch_size=3, drop_last=True), facts=facts)) == 2


def test_adam_hides_the_size_of_the_gradient():
    facts = Level.BASIC | Knowledge.LOCAL_TRAINING
    with pytest.raises(AttackFailed, match="Adam"):
        displacement(share(FedAvg(learning_rate=0.01, optimiser="adam"), facts=facts))


def test_the_random_features_of_the_order_prior():
    """The same 96 filters of unit gain in every run, over pixels of equal count: a border of zeros."""
    seen = Client(smooth_net(), FedAvg(learning_rate=0.1, epochs=2)).share(make_batch(2), Level.TRAINING_DETAILS)
    inputs = torch.rand(4, 1, 8, 8)
    filters = torch.randn(96, 1, 3, 3, generator=torch.Generator().manual_seed(0)) / 3
    features = torch.nn.functional.conv2d(inputs, filters, padding=1)
    by_hand = (features[:2].mean(0) - features[2:].mean(0)).square().mean()
    torch.testing.assert_close(EpochOrder(features="convolution").bind(seen)(inputs, Progress(0, 1)), by_hand)


def test_a_gradient_is_no_mean_step():
    """A client that shares a gradient: its distance is not divided by rate and steps."""
    training = FedAvg(learning_rate=0.1, epochs=2, update="gradient")
    seen = Client(smooth_net(), training).share(make_batch(2), Level.TRAINING_DETAILS)
    ones = tuple(torch.ones_like(t) for t in seen.update.values)
    twos = tuple(2 * t for t in ones)
    plain = MeanStep(decay=0.0).bind(seen)(twos, ones, Progress(0, 1))
    assert plain.item() == pytest.approx(sum(t.numel() for t in ones))
    moved = Client(smooth_net(), FedAvg(learning_rate=0.1, epochs=2)).share(make_batch(2), Level.TRAINING_DETAILS)
    scaled = MeanStep(decay=0.0).bind(moved)(twos, ones, Progress(0, 1))
    assert scaled.item() == pytest.approx(plain.item() / (0.1 * 2) ** 2)


def test_steps_without_the_batch_size():
    """Of whole batches they are the epochs; of minibatches nobody can tell."""
    victim = Client(smooth_net(), FedAvg(learning_rate=0.1, epochs=3))
    assert local_steps(victim.share(make_batch(2), Knowledge.LOCAL_TRAINING)) == 3
    assert local_steps(victim.share(make_batch(2), Knowledge.NOTHING)) == 1
    cut = Client(smooth_net(), FedAvg(learning_rate=0.1, epochs=3, minibatch_size=1))
    assert local_steps(cut.share(make_batch(2), Level.TRAINING_DETAILS)) == 6
    with pytest.raises(AttackFailed, match="follows from the batch size"):
        local_steps(cut.share(make_batch(2), Knowledge.LOCAL_TRAINING))
