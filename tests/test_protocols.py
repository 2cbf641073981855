"""Every protocol: the objective is zero at the truth, and the adversary holds nothing that it was not granted."""

import dataclasses
import types
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Level, Normalisation, SecureAggregation
from gradaudit.attacks import ATTACKS
from gradaudit.client.participant import own_seed
from gradaudit.inversion.parts.objectives import Cosine, Euclidean
from gradaudit.inversion.parts.part import Progress
from gradaudit.protocol.local_training import client_seed
from properties import short

SEED = 91_827_364
USES = ("training", "defenses")
AT = Progress(0, 1)
TRUE = Level.BASIC | Knowledge.LABELS | Knowledge.LOCAL_TRAINING
STEPS = {"learning_rate": 0.1, "epochs": 2, "minibatch_size": 2}
PARTIAL = ("1.*", "5.weight")
PROTOCOLS = {
    "fedsgd": FedSGD(),
    "fedsgd, batch norm trains": FedSGD(batch_norm="train"),
    "fedsgd, partial": FedSGD(shared=PARTIAL),
    "one step": FedAvg(learning_rate=0.1),
    "fedavg": FedAvg(**STEPS),
    "momentum": FedAvg(**STEPS, momentum=0.9),
    "nesterov": FedAvg(**STEPS, momentum=0.9, nesterov=True),
    "weight decay": FedAvg(**STEPS, weight_decay=0.1),
    "adam": FedAvg(**STEPS, optimiser="adam"),
    "batch norm trains": FedAvg(**STEPS, batch_norm="train", share_buffers=True),
    "shuffled": FedAvg(**STEPS, shuffle=True),
    "without the last": FedAvg(**STEPS, shuffle=True, drop_last=True),
    "partial": FedAvg(**STEPS, shared=PARTIAL),
    "gradient": FedAvg(**STEPS, update="gradient"),
    "gradient, adam": FedAvg(**STEPS, optimiser="adam", update="gradient"),
    "gradient, partial": FedAvg(**STEPS, shuffle=True, momentum=0.5, shared=PARTIAL, update="gradient"),
}
CLIENTS = {"one client": None, "three clients": (3, 2, 2)}
both = pytest.mark.parametrize("sizes", CLIENTS.values(), ids=CLIENTS)
every = pytest.mark.parametrize("training", PROTOCOLS.values(), ids=PROTOCOLS)


def victim(training, sizes=None, defenses=()):
    torch.manual_seed(0)
    net = nn.Sequential(*list(smooth_net().children())[:4], nn.Dropout(0.5), smooth_net()[4]).double()
    normalisation = Normalisation((0.5,), (0.25,))
    if sizes is None:
        return Client(net, training, defenses, normalisation)
    return SecureAggregation(net, training, defenses, normalisation, sizes=sizes)


def private(count=7):
    batch = make_batch(count)
    return replace(batch, inputs=batch.inputs.double())


def true_orders(training, sizes, batch):
    """The orders that the clients drew, as the audit alone can know them."""
    if sizes is None:
        return training.orders(len(batch), own_seed("training", SEED, batch))
    epochs, first = [[] for _ in range(training.epochs)], 0
    for number, size in enumerate(sizes):
        part = Batch(batch.inputs[first : first + size], batch.labels[first : first + size])
        own = training.orders(size, own_seed("training", client_seed(SEED, number + 1), part))
        for epoch, order in zip(epochs, own, strict=True):
            epoch.append(order + first)
        first += size
    return [torch.cat(epoch) for epoch in epochs]


def objectives(seen, inputs, labels, **options):
    update = seen.assumed_training(seen.model, inputs, labels, **options)
    return [float(part.bind(seen)(update, seen.update.values, AT)) for part in (Euclidean(), Cosine())]


@both
@every
def test_the_objective_is_zero_at_the_truth(training, sizes):
    client, batch = victim(training, sizes), private()
    seen = client.share(batch, TRUE, seed=SEED)
    truth = client.normalisation.apply(batch.inputs)
    euclidean, cosine = objectives(seen, truth, seen.labels, orders=true_orders(training, sizes, batch))
    assert euclidean < 1e-18
    assert abs(cosine) < 1e-12
    assert list(seen.update.tensors) == list(training.shared_parameters(client.model))
    other = objectives(seen, truth.flip(-1), seen.labels, orders=true_orders(training, sizes, batch))
    wrong = objectives(seen, truth, (seen.labels + 1) % 10, orders=true_orders(training, sizes, batch))
    for value in (*other, *wrong):
        assert value > 1e-6


@both
def test_another_order_than_the_clients_is_seen_in_the_objective(sizes):
    training, batch = FedAvg(**STEPS, shuffle=True), private()
    client = victim(training, sizes)
    seen = client.share(batch, TRUE, seed=SEED)
    assert min(objectives(seen, client.normalisation.apply(batch.inputs), batch.labels)) > 0.1


def test_dropout_is_zero_with_the_clients_masks_alone():
    client, batch = victim(FedAvg(**STEPS, dropout=True)), private()
    seen = client.share(batch, TRUE, seed=SEED)
    truth = client.normalisation.apply(batch.inputs)
    assert max(map(abs, objectives(seen, truth, batch.labels, seed=own_seed("training", SEED, batch)))) < 1e-12
    assert min(objectives(seen, truth, batch.labels)) > 1e-4


@both
@pytest.mark.parametrize("shared", [("*",), PARTIAL], ids=["whole", "partial"])
def test_without_the_details_the_truth_still_points_the_right_way(shared, sizes):
    """A weight difference has the sign of a gradient; with the other sign the truth is the worst of all guesses.

    Which tensors travel is seen by everybody.
    """
    client, batch = victim(FedAvg(**STEPS | {"learning_rate": 0.01}, shared=shared), sizes), private()
    seen = client.share(batch, Level.BASIC | Knowledge.LABELS, seed=SEED)
    assert seen.training is None
    assert objectives(seen, client.normalisation.apply(batch.inputs), batch.labels)[1] < 0.4


@both
@every
def test_an_attack_runs_under_every_protocol(training, sizes):
    """And moves towards the truth: its objective falls."""
    client, batch = victim(training, sizes), private()
    seen = client.share(batch, TRUE, seed=SEED)
    attack = replace(ATTACKS["inverting-gradients"], restarts=1)
    long, brief = (short(attack, steps)(seen, seed=1) for steps in (6, 1))
    assert long.inputs.shape == batch.inputs.shape
    assert 0 <= long.objective < brief.objective  # measured: 0.93 of it at most, over 266 runs


@pytest.mark.parametrize("share_buffers", [False, True])
def test_buffers_travel_only_where_the_client_shares_them(share_buffers):
    client = victim(FedAvg(**STEPS, batch_norm="train", share_buffers=share_buffers))
    seen = client.share(private(), ~Knowledge.NOTHING)
    assert (seen.update.buffers is not None) == share_buffers
    assert seen.model[1].num_batches_tracked == 0
    if share_buffers:
        assert seen.update.buffers["1.num_batches_tracked"] == 8


def reachable(value, seen=None):
    """Everything that hangs on a value: fields, attributes, entries, gradients, what a closure holds."""
    seen = {} if seen is None else seen
    if id(value) in seen or isinstance(value, (type, types.ModuleType, types.BuiltinFunctionType)):
        return seen
    seen[id(value)] = value
    if isinstance(value, torch.Tensor):
        inner = [value.grad, value.grad_fn, getattr(value, "_base", None), vars(value)]
    elif isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = list(value)
    elif isinstance(value, types.FunctionType):
        inner = [cell.cell_contents for cell in value.__closure__ or ()]
    elif isinstance(value, types.MethodType):
        inner = [value.__self__, value.__func__]
    else:
        inner = [getattr(value, "__dict__", None)]
        inner += [getattr(value, f.name) for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    for entry in inner:
        reachable(entry, seen)
    return seen


def secrets(client, batch, training, sizes):
    """Tensors that the adversary must not hold, by name."""
    orders = true_orders(training, sizes, batch)
    inputs = client.normalisation.apply(batch.inputs)
    found = {"labels": batch.labels, "one-hot labels": nn.functional.one_hot(batch.labels, 10)}
    found |= {"inputs": batch.inputs, "normalised inputs": inputs}
    found |= {f"the order of epoch {i}": order for i, order in enumerate(orders)}
    found |= {f"labels in epoch {i}": batch.labels[order] for i, order in enumerate(orders)}
    return found


@pytest.mark.parametrize("granted", [Knowledge.NOTHING, ~Knowledge.LABELS & ~Knowledge.BATCH_STATISTICS], ids=str)
@both
@pytest.mark.parametrize("name", ["fedsgd", "fedsgd, batch norm trains", "shuffled", "batch norm trains", "partial"])
def test_nothing_hidden_hangs_on_the_observation(name, sizes, granted):
    training, batch = PROTOCOLS[name], private()
    client = victim(training, sizes)
    for parameter in client.model.parameters():  # as a training loop before may leave them
        parameter.grad = torch.ones_like(parameter)
    everything = list(reachable(client.share(batch, granted, seed=SEED)).values())
    tensors = [value for value in everything if isinstance(value, torch.Tensor)]
    assert all(tensor.grad is None and tensor.grad_fn is None for tensor in tensors)
    for what, secret in secrets(client, batch, training, sizes).items():
        for tensor in tensors:
            same = tensor.numel() == secret.numel()
            assert not (same and torch.equal(tensor.flatten().double(), secret.flatten().double())), what
    seeds = {SEED, *(client_seed(SEED, k) for k in range(4)), *(own_seed(use, SEED, batch) for use in USES)}
    assert not [value for value in everything if isinstance(value, int) and value in seeds]
    known_size = Knowledge.BATCH_SIZE in granted
    assert (7 in [value for value in everything if type(value) is int]) == known_size


def test_the_walk_finds_what_is_hidden():
    """The test above can fail: the same walk finds labels that are granted, and a gradient left in the model."""
    client, batch = victim(FedSGD()), private()
    seen = client.share(batch, Knowledge.LABELS)
    seen.model[0].weight.grad = batch.inputs[:4, :, :3, :3]
    seen.model[0].note = lambda: batch
    found = list(reachable(seen).values())
    assert any(value is seen.labels for value in found)
    assert any(value is seen.model[0].weight.grad for value in found)
    assert any(value is batch.inputs for value in found)
