"""Local training against a plain loop over `torch.optim`."""

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import FedAvg, FedSGD, LocalTraining
from gradaudit.protocol.local_training import AggregatedTraining, DistilledCrossEntropy, InMode
from gradaudit.protocol.local_training.rules import sgd
from gradaudit.values.errors import AuditError

SEED = 41


def net():
    """BatchNorm, dropout, a dead ReLU channel, and a layer that is never used."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(4 * 64, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 10)).double()
    model[1].bias.data[0] = -100.0
    model.unused = nn.Linear(2, 2).double()
    model.forward = lambda x: nn.Sequential(*list(model.children())[:-1])(x)
    return model


def plain_loop(model, batch, training, orders, seed):
    """The model and the number of steps that anybody's training loop gives."""
    model = deepcopy(model)
    model.forward = lambda x: nn.Sequential(*list(model.children())[:-1])(x)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(training.batch_norm == "train")
        else:
            module.train(training.dropout)
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimiser == "adam":
        optimiser = torch.optim.Adam(
            model.parameters(), rate, betas=training.betas, eps=training.eps, weight_decay=decay
        )
    else:
        optimiser = torch.optim.SGD(
            model.parameters(), rate, momentum=training.momentum, weight_decay=decay, nesterov=training.nesterov
        )
    size, steps = training.minibatch_size or len(batch), 0
    torch.manual_seed(seed)
    for order in orders:
        for chosen in order.split(size):
            if training.drop_last and len(chosen) < size:
                continue
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(batch.inputs[chosen]), batch.labels[chosen]).backward()
            optimiser.step()
            steps += 1
    return model, steps


CASES = {
    "momentum": {"momentum": 0.9},
    "weight decay": {"weight_decay": 0.1},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    "adam": {"optimiser": "adam", "learning_rate": 0.01},
    "adam without memory": {"optimiser": "adam", "learning_rate": 0.01, "betas": (0.0, 0.0)},
    "adam with decay": {"optimiser": "adam", "weight_decay": 0.2, "betas": (0.5, 0.9), "eps": 1e-4},
    "shuffled": {"shuffle": True},
    "shuffled adam": {"shuffle": True, "optimiser": "adam", "learning_rate": 0.01},
    "without the last": {"shuffle": True, "drop_last": True},
    "dropout": {"dropout": True},
    "batch norm": {"batch_norm": "train", "momentum": 0.5},
    "everything": {
        "batch_norm": "train",
        "dropout": True,
        "shuffle": True,
        "momentum": 0.9,
        "weight_decay": 0.1,
        "drop_last": True,
    },
}


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_equals_a_plain_loop(options, differentiable):
    training = FedAvg(**({"learning_rate": 0.1, "epochs": 3, "minibatch_size": 2} | options))
    model, batch = net(), make_batch(5)
    batch = type(batch)(batch.inputs.double(), batch.labels)
    wanted, steps = plain_loop(model, batch, training, training.orders(5, SEED), SEED)
    state = torch.get_rng_state()
    found, buffers = training.train(model, batch.inputs, batch.labels, seed=SEED, differentiable=differentiable)
    assert torch.equal(state, torch.get_rng_state())
    assert steps == training.steps(5)
    for (name, before), after, difference in zip(model.named_parameters(), wanted.parameters(), found, strict=True):
        torch.testing.assert_close(difference, before - after, rtol=1e-9, atol=1e-12, msg=name)
    for name, buffer in wanted.named_buffers():
        torch.testing.assert_close(buffers[name], buffer, msg=name)


def test_fedsgd_with_dropout_is_the_gradient_under_the_same_mask():
    model, batch = net().train(), make_batch(3)
    model[1].eval()
    torch.manual_seed(SEED)
    nn.functional.cross_entropy(model(batch.inputs.double()), batch.labels).backward()
    found = FedSGD(dropout=True)(model, batch.inputs.double(), batch.labels, seed=SEED)
    for tensor, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(tensor, torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)


def test_chance_acts_only_with_a_seed():
    model, batch = net(), make_batch(5)
    training = FedAvg(learning_rate=0.1, minibatch_size=2, shuffle=True, dropout=True)
    plain = FedAvg(learning_rate=0.1, minibatch_size=2)
    data = (model, batch.inputs.double(), batch.labels)
    assert all(map(torch.equal, training(*data), plain(*data)))
    first, again, other = (training(*data, seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], plain(*data)[0])


def test_every_epoch_has_its_own_order():
    orders = FedAvg(learning_rate=0.1, epochs=4, shuffle=True).orders(30, seed=SEED)
    assert all(torch.equal(order.sort().values, torch.arange(30)) for order in orders)
    assert not any(torch.equal(a, b) for a, b in pairwise(orders))
    assert not torch.equal(orders[0], FedAvg(learning_rate=0.1, shuffle=True).orders(30, seed=SEED + 1)[0])
    assert torch.equal(FedAvg(learning_rate=0.1, shuffle=True).orders(30)[0], torch.arange(30))


def test_orders_may_give_every_epoch_its_own_copy():
    model, batch = smooth_net(), make_batch(4)
    training = FedAvg(learning_rate=0.1, epochs=2, minibatch_size=2)
    twice, labels = batch.inputs.repeat(2, 1, 1, 1), batch.labels.repeat(2)
    found = training(model, twice, labels, orders=torch.arange(8).split(4))
    for a, b in zip(found, training(model, batch.inputs, batch.labels), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("training", "options", "message"),
    [
        (FedAvg(learning_rate=0.1, epochs=2), {"orders": [torch.arange(3)]}, "one order per epoch, 2. Found 1"),
        (FedAvg(learning_rate=0.1, minibatch_size=4, drop_last=True), {}, "no minibatch of 4 among 3 examples"),
        (FedSGD(shared=("nothing.*", "0.*")), {}, r"training.shared: nothing.\* matches none of .*0.weight, 0.bias"),
        (AggregatedTraining(sizes=(1, 1)), {}, "2 clients hold 2 examples. Found 3"),
    ],
)
def test_refuses_at_the_call(training, options, message):
    batch = make_batch(3)
    with pytest.raises(AuditError, match=message):
        training(smooth_net(), batch.inputs, batch.labels, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1.0}, "weight_decay must be at least 0. Found -1.0"),
        ({"weight_decay": 0.1}, "need a learning_rate"),
        ({"shuffle": True}, "need a learning_rate"),
        ({"optimiser": "adam"}, "need a learning_rate"),
        ({"update": "weight-difference"}, "need a learning_rate"),
        ({"learning_rate": 0.1, "update": "both"}, "update must be gradient or weight-difference"),
        ({"learning_rate": 0.1, "optimiser": "lion"}, "optimiser must be sgd or adam. Found lion"),
        ({"learning_rate": 0.1, "optimiser": "adam", "momentum": 0.9}, "adam takes betas, no momentum"),
        ({"learning_rate": 0.1, "betas": (0.9, 1.0)}, "betas must be two numbers in"),
        ({"learning_rate": 0.1, "eps": 0.0}, "eps must be positive"),
        ({"learning_rate": 0.1, "nesterov": True}, "nesterov needs a momentum"),
        ({"learning_rate": 0.1, "drop_last": True}, "drop_last needs a minibatch_size"),
        ({"shared": ()}, "shared needs at least one pattern"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(AuditError, match=message):
        LocalTraining(**options)


DIFFERENTIABLE = {
    "momentum and decay": {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    "adam": {"optimiser": "adam", "eps": 1e-2, "weight_decay": 0.1},
    "batch norm": {"batch_norm": "train"},
    "dropout": {"dropout": True, "shuffle": True},
    "partial": {"shared": ("4.*",)},
}


def scalar(training, labels, **options):
    torch.manual_seed(0)
    model = nn.Sequential(*smooth_net(size=4).children(), nn.Dropout(0.3)).double()

    def square(inputs):
        return sum(t.pow(2).sum() for t in training(model, inputs, labels, differentiable=True, seed=SEED, **options))

    return square


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("options", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE)
def test_is_differentiable(options, checkpoint):
    batch = make_batch(3, side=4)
    training = FedAvg(learning_rate=0.3, epochs=2, minibatch_size=2, **options)
    inputs = batch.inputs.double().requires_grad_()
    square = scalar(training, batch.labels, checkpoint=checkpoint)
    assert torch.autograd.gradcheck(square, (inputs,), eps=1e-6, atol=1e-5, fast_mode=True)


def test_a_checkpointed_run_has_the_same_derivatives_of_any_order():
    batch = make_batch(2, side=4)
    training = FedAvg(learning_rate=0.3, epochs=2, minibatch_size=1, momentum=0.5)
    second = []
    for checkpoint in (False, True):
        inputs = batch.inputs.double().requires_grad_()
        value = scalar(training, batch.labels, checkpoint=checkpoint)(inputs)
        (first,) = torch.autograd.grad(value, inputs, create_graph=True)
        second += [first.detach(), *torch.autograd.grad(first.square().sum(), inputs)]
    torch.testing.assert_close(second[0], second[2], rtol=0, atol=0)
    torch.testing.assert_close(second[1], second[3], rtol=1e-9, atol=1e-12)


def test_a_checkpointed_run_leaves_modes_and_random_state_alone():
    batch, model = make_batch(4), nn.Sequential(*smooth_net().children(), nn.Dropout(0.3)).eval()
    training = FedAvg(learning_rate=0.1, minibatch_size=2, batch_norm="train", dropout=True)
    inputs = batch.inputs.clone().requires_grad_()
    state, buffers = torch.get_rng_state(), deepcopy(dict(model.named_buffers()))
    found, after = training.train(model, inputs, batch.labels, differentiable=True, seed=SEED, checkpoint=True)
    kept = {name: buffer.clone() for name, buffer in after.items()}
    (slope,) = torch.autograd.grad(found[0].square().sum(), inputs)
    assert slope.any()
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert all(torch.equal(buffer, kept[name]) for name, buffer in after.items())
    assert after["1.num_batches_tracked"] == 2


def test_partial_sharing_trains_everything_and_returns_what_matches():
    model, batch = smooth_net(), make_batch(4)
    options = {"learning_rate": 0.1, "epochs": 2, "minibatch_size": 2}
    whole = FedAvg(**options)(model, batch.inputs, batch.labels)
    names = [name for name, _ in model.named_parameters()]
    for patterns, wanted in (("4.*", ["4.weight", "4.bias"]), (("*.bias",), ["0.bias", "1.bias", "4.bias"])):
        training = FedAvg(**options, shared=patterns)
        assert list(training.shared_parameters(model)) == wanted
        found = training(model, batch.inputs, batch.labels)
        assert all(torch.equal(t, whole[names.index(n)]) for n, t in zip(wanted, found, strict=True))
    gradient = FedSGD()(model, batch.inputs, batch.labels)
    assert torch.equal(FedSGD(shared="4.bias")(model, batch.inputs, batch.labels)[0], gradient[-1])


@pytest.mark.parametrize("options", [{}, {"optimiser": "adam"}], ids=["sgd", "adam"])
def test_a_shared_gradient_is_the_mean_step(options):
    model, batch = smooth_net().double(), make_batch(5)
    training = {"learning_rate": 0.01, "epochs": 3, "minibatch_size": 2, **options}
    data = (model, batch.inputs.double(), batch.labels)
    gradient, difference = FedAvg(**training, update="gradient"), FedAvg(**training)
    assert gradient.kind == "gradient"
    for a, b in zip(gradient(*data), difference(*data), strict=True):
        torch.testing.assert_close(a * 0.01 * 9, b)


def test_a_vanishing_gradient_has_a_finite_slope_under_adam():
    net_ = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    net_[1].bias.data[0] = -100.0
    inputs = torch.rand(2, 1, 2, 2, requires_grad=True)
    training = FedAvg(learning_rate=0.1, epochs=2, optimiser="adam")
    found = training(net_, inputs, torch.tensor([0, 1]), differentiable=True)
    (slope,) = torch.autograd.grad(sum(t.square().sum() for t in found), inputs)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("training", [FedSGD(), FedAvg(learning_rate=0.1, epochs=2)], ids=["fedsgd", "fedavg"])
def test_what_is_derived_of_an_update_leaves_no_gradient_in_the_model(training):
    model, batch = smooth_net(), make_batch(2)
    inputs = batch.inputs.clone().requires_grad_()
    update = training(model, inputs, batch.labels, differentiable=True)
    sum(tensor.square().sum() for tensor in update).backward()
    assert inputs.grad.any()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("options", [{}, {"optimiser": "adam"}], ids=["sgd", "adam"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_only_a_checkpointed_run_computes_its_steps_again(checkpoint, options):
    passes = []
    model, batch = smooth_net(), make_batch(2)
    model[0].register_forward_hook(lambda *_: passes.append(1))
    training = FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1, **options)
    inputs = batch.inputs.clone().requires_grad_()
    update = training(model, inputs, batch.labels, differentiable=True, checkpoint=checkpoint)
    before = len(passes)
    torch.autograd.grad(update[0].square().sum(), inputs)
    assert (len(passes) > before) is checkpoint
    assert (before == training.steps(2)) is not checkpoint


def test_passes_in_a_mode_leave_modes_and_statistics_alone():
    model = nn.Sequential(*smooth_net().children()).train()
    model[0].eval()
    state, modes = deepcopy(model.state_dict()), [module.training for module in model.modules()]
    with InMode(model, "train"):
        model(make_batch(4).inputs)
        assert not torch.equal(model[1].running_mean, state["1.running_mean"])
        assert [module.training for module in model] == [False, True, False, False, False]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]


def test_the_ends_of_distillation():
    logits, labels, teacher = torch.randn(3, 4), torch.tensor([0, 1, 3]), torch.randn(3, 4).softmax(1)
    plain, softened = nn.functional.cross_entropy(logits, labels), nn.functional.cross_entropy(logits / 2, teacher)
    torch.testing.assert_close(DistilledCrossEntropy(1.0, 2.0)(logits, labels, teacher), plain)
    torch.testing.assert_close(DistilledCrossEntropy(0.0, 2.0)(logits, labels, teacher), softened / 2)


def test_an_optimiser_counts_its_steps():
    after, options = None, {"rate": 0.1, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}
    for steps in (1, 2, 3):
        _, after = sgd(torch.ones(2), torch.ones(2), after, **options)
        assert after.steps == steps
