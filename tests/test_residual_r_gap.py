"""R-GAP's recursion on batches through a residual network: its equations, what it solves exactly, what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, cross_entropy, one_hot

from conftest import make_batch, smooth_net
from gradaudit import Client, FedSGD, Knowledge, Level
from gradaudit.attacks._separation import separate_head, solve_inputs
from gradaudit.attacks.residual_r_gap import ATTACK, _Peeling
from gradaudit.inversion.run.refusal import attacked
from gradaudit.models import build
from gradaudit.models.cut_residual import CutResNet
from gradaudit.values.errors import AttackFailed

KNOWN = Level.BASIC | Knowledge.LABELS
BRIEF = replace(ATTACK, steps=4, restarts=1)


def test_the_last_layer_separates_a_batch():
    torch.manual_seed(0)
    layer, features, labels = nn.Linear(20, 10).double(), torch.rand(4, 20).double(), torch.tensor([3, 1, 7, 0])
    loss = cross_entropy(layer(features), labels)
    rows, bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
    found = separate_head(rows, bias, layer, one_hot(labels, 10).double())
    assert found.residual < 1e-9
    assert torch.allclose(found.features, features, atol=1e-3)
    slopes = (layer(features).softmax(-1) - one_hot(labels, 10)) / 4
    assert torch.allclose(found.slopes, slopes, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("told", [False, True])
def test_a_convolution_is_solved_for_its_inputs(stride, told):
    torch.manual_seed(0)
    conv, inputs = nn.Conv2d(3, 16, 3, stride, 1, bias=False).double(), torch.rand(2, 3, 4, 4).double()
    outputs = conv2d(inputs, conv.weight, stride=stride, padding=1)
    slopes = torch.randn_like(outputs)
    (gradient,) = torch.autograd.grad((outputs * slopes).sum(), conv.weight)
    known = torch.where(torch.rand_like(inputs) < 0.5, inputs, torch.nan) if told else None
    found, residual = solve_inputs(gradient, slopes, conv, (4, 4), known)
    assert residual < 1e-10
    assert torch.allclose(found, inputs, atol=1e-8)
    assert solve_inputs(gradient, slopes.flip(0), conv, (4, 4), known)[1] > (0.05 if told else -1)


def share(size=16, count=2, training=None):
    torch.manual_seed(0)
    model = build("resnet18", num_classes=10, channels=1, size=size).double()
    batch = make_batch(count, side=size)
    batch = replace(batch, inputs=batch.inputs.double())
    return batch, Client(model, **({"training": training} if training else {})).share(batch, KNOWN)


def test_the_map_behind_the_stem_is_that_of_the_private_images():
    batch, seen = share()
    seen = attacked("test", seen)
    found = _Peeling(seen, seen.labels)
    assert found.note == "Solved exactly down to the output of the stem."
    with torch.no_grad():
        truth = found.front(seen.normalisation.apply(batch.inputs))
    assert (found.target - truth).norm() < 1e-4 * truth.norm()
    known = found.known()
    inputs = seen.normalisation.apply(batch.inputs)
    assert all(error < 1e-8 for error in known.errors(inputs))
    assert all(error > 1e-3 for error in known.errors(inputs.flip(-1)))


def test_what_it_cannot_solve_is_refused():
    for told, wrong in (
        (share(size=64)[1], r"the last feature map has \(2, 2\) pixels"),
        (share(training=FedSGD(batch_norm="train"))[1], "BatchNorm in evaluation mode"),
        (Client(smooth_net()).share(make_batch(1), KNOWN), "is not torchvision's ResNet-18"),
    ):
        with pytest.raises(AttackFailed, match=wrong):
            BRIEF(told)


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_a_cut_skip_leaves_equations_enough(cut):
    """Skips 1 and 8 add their input unchanged, skip 3 through a convolution."""
    torch.manual_seed(0)
    model = CutResNet("resnet18", cut, small=False).build(10, 1, 16).double()
    batch = make_batch(2, side=16)
    seen = attacked("test", Client(model).share(replace(batch, inputs=batch.inputs.double()), KNOWN))
    found = _Peeling(seen, seen.labels)
    assert found.note == "Solved exactly down to the output of the stem."
    with torch.no_grad():
        truth = found.front(seen.normalisation.apply(batch.inputs.double()))
    assert (found.target - truth).norm() < 1e-3 * truth.norm()
