from copy import deepcopy

import pytest
import torch
from torch import nn

from conftest import make_batch, smooth_net
from gradaudit import FedAvg, FedSGD, LocalTraining
from gradaudit.protocol.local_training import CrossEntropy, DistilledCrossEntropy
from gradaudit.values.errors import AuditError
from gradaudit.values.types import UpdateKind


def sgd_difference(model, batch, training):
    """What a plain torch.optim.SGD loop shares."""
    net = deepcopy(model).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(training.batch_norm == "train")
    optimiser = torch.optim.SGD(net.parameters(), lr=training.learning_rate, momentum=training.momentum)
    size = training.minibatch_size or len(batch)
    for _ in range(training.epochs):
        for x, y in zip(batch.inputs.split(size), batch.labels.split(size), strict=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    return [a.detach() - b.detach() for a, b in zip(model.parameters(), net.parameters(), strict=True)], net


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize(("epochs", "minibatch_size"), [(1, None), (3, 2), (2, 3)])
def test_equals_a_plain_sgd_loop(epochs, minibatch_size, batch_norm, momentum):
    model, batch = smooth_net().double(), make_batch(5)
    batch = type(batch)(batch.inputs.double(), batch.labels)
    training = FedAvg(
        learning_rate=0.1, epochs=epochs, minibatch_size=minibatch_size, momentum=momentum, batch_norm=batch_norm
    )
    wanted, trained = sgd_difference(model, batch, training)
    found, buffers = training.train(model, batch.inputs, batch.labels)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    for name, buffer in trained.named_buffers():
        torch.testing.assert_close(buffers[name], buffer)


def test_fedsgd_is_the_gradient():
    model, batch = smooth_net(), make_batch(3)
    nn.functional.cross_entropy(model(batch.inputs), batch.labels).backward()
    for found, parameter in zip(FedSGD()(model, batch.inputs, batch.labels), model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)


def test_one_fedavg_step_is_the_gradient_times_the_rate():
    model, batch = smooth_net(), make_batch(3)
    gradient = FedSGD()(model, batch.inputs, batch.labels)
    difference = FedAvg(learning_rate=0.5)(model, batch.inputs, batch.labels)
    for g, d in zip(gradient, difference, strict=True):
        torch.testing.assert_close(0.5 * g, d, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "training", [FedSGD(), FedSGD(batch_norm="train"), FedAvg(learning_rate=0.3, epochs=2, minibatch_size=1)]
)
def test_is_differentiable_in_the_inputs(training):
    model, batch = smooth_net().double(), make_batch(2)
    x = batch.inputs.double().requires_grad_()

    def norm(inputs):
        return sum(t.pow(2).sum() for t in training(model, inputs, batch.labels, differentiable=True))

    assert torch.autograd.gradcheck(norm, (x,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_leaves_the_model_alone(batch_norm):
    model, batch = smooth_net().train(), make_batch(3)
    model[0].eval()
    before, modes = deepcopy(model.state_dict()), [m.training for m in model.modules()]
    FedAvg(learning_rate=0.1, epochs=2, batch_norm=batch_norm)(model, batch.inputs, batch.labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert all(p.grad is None for p in model.parameters())


def test_frozen_and_unused_parameters():
    model = smooth_net()
    model[0].weight.requires_grad_(False)
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: nn.Sequential.forward(nn.Sequential(*list(model)[:5]), x)
    found = FedSGD()(model, make_batch().inputs, make_batch().labels)
    assert len(found) == sum(p.requires_grad for p in model.parameters())
    assert found[-1].eq(0).all()


def test_works_where_gradients_are_switched_off():
    with torch.no_grad():
        assert FedSGD()(smooth_net(), make_batch().inputs, make_batch().labels)[0].abs().sum() > 0


def test_soft_labels_equal_hard_ones():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    one_hot = nn.functional.one_hot(labels, 3).float()
    torch.testing.assert_close(CrossEntropy()(logits, labels), CrossEntropy()(logits, one_hot))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 2}, "need a learning_rate"),
        ({"momentum": 0.5}, "need a learning_rate"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": 0.1, "minibatch_size": 0}, "minibatch_size must be at least 1"),
        ({"learning_rate": 0.1, "momentum": 1.0}, "momentum must be in"),
        ({"batch_norm": "both"}, "batch_norm must be eval or train"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(AuditError, match=message):
        LocalTraining(**options)


def test_kind():
    assert FedSGD().kind is UpdateKind.GRADIENT
    assert FedAvg(learning_rate=0.1).kind is UpdateKind.WEIGHT_DIFFERENCE


def test_the_ends_of_ranges_are_allowed():
    assert LocalTraining(learning_rate=0.1, optimiser="adam", betas=(0.0, 0.0)).betas == (0, 0)
    with pytest.raises(AuditError, match="betas"):
        LocalTraining(learning_rate=0.1, optimiser="adam", betas=(0.0, 1.0))
    logits, labels = torch.tensor([[1.0, 2.0]]), torch.tensor([1])
    plain = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(DistilledCrossEntropy(alpha=1.0)(logits, labels), plain)
    assert DistilledCrossEntropy(alpha=0.0).alpha == 0
    for alpha in (-0.1, 1.1):
        with pytest.raises(AuditError, match=r"alpha must be in \[0, 1\]"):
            DistilledCrossEntropy(alpha=alpha)
