"""What the second pass replays, function by function."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradaudit.inversion.step.kinks import HANDLERS, Kinks, KinksDiffer

LINEAR = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x + 0, inplace=True),
    "method": lambda x: x.relu(),
    "torch.relu_": lambda x: torch.relu_(x + 0),
    "module in place": lambda x: nn.ReLU(inplace=True)(x + 0),
    "result thrown away": lambda x: [y := x + 0, y.relu_()][0],
    "leaky": nn.LeakyReLU(0.2),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.3, 0.4),
    "hardtanh in place": lambda x: F.hardtanh(x + 0, inplace=True),
    "hardsigmoid": nn.Hardsigmoid(),
    "abs": abs,
    "clamp": lambda x: x.clamp(min=-0.2),
    "clamp two": lambda x: torch.clamp(x, -0.2, 0.1),
    "maximum": lambda x: torch.maximum(x, 0.5 - x),
    "minimum": lambda x: torch.minimum(x, 0.5 - x),
    "prelu": lambda x: F.prelu(x, torch.full((3,), 0.2, dtype=x.dtype)),
    "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1),
    "max_pool2d overlapping": nn.MaxPool2d(3, 2, 1),
    "F.max_pool2d": lambda x: F.max_pool2d(x, (2, 3), dilation=2, ceil_mode=True),
    "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
    "with indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "max_pool3d": lambda x: F.max_pool3d(x[None], 2),
    "adaptive": nn.AdaptiveMaxPool2d(3),
}
CURVED = {"hardswish": nn.Hardswish(), "hardswish in place": lambda x: F.hardswish(x + 0, inplace=True)}


def passes(function, move):
    """The function at x as it is, and at x + move on the branches taken at x."""
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    kinks = Kinks()
    with kinks.recording():
        first = function(x)
    with kinks.replaying():
        again = function(x + move * torch.randn_like(x))
    assert kinks.entries
    return x, function(x), first, again


@pytest.mark.parametrize("name", [*LINEAR, *CURVED])
def test_replay_is_the_function_itself_at_the_same_place(name):
    _, plain, first, again = passes((LINEAR | CURVED)[name], 0.0)
    assert torch.equal(first, plain)
    torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("name", [name for name in LINEAR if name not in ("prelu", "hardsigmoid")])
def test_replay_elsewhere_is_the_tangent(name):
    torch.manual_seed(1)
    function = LINEAR[name]
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    direction = torch.randn_like(x)
    kinks = Kinks()
    with kinks.recording():
        function(x)
    tangent = torch.autograd.functional.jvp(function, (x,), (direction,))
    with kinks.replaying():
        moved = function(x + 3 * direction)
    torch.testing.assert_close(moved, tangent[0] + 3 * tangent[1])


def test_gradients_of_a_replay_follow_the_first_branches():
    x = torch.tensor([-1.0, 2.0])
    kinks = Kinks()
    with kinks.recording():
        F.relu(x)
    leaf = torch.tensor([3.0, -4.0], requires_grad=True)
    with kinks.replaying():
        found = F.relu(leaf)
    assert found.tolist() == [0, -4]
    assert torch.autograd.grad(found.sum(), leaf)[0].tolist() == [0, 1]


@pytest.mark.parametrize("second", [lambda x: x.abs(), lambda x: x[:1].relu(), lambda x: x.relu().relu()])
def test_another_course_of_the_second_pass_is_noticed(second):
    x, kinks = torch.randn(4), Kinks()
    with kinks.recording():
        x.relu()
    with pytest.raises(KinksDiffer, match="two forward passes differ"), kinks.replaying():
        second(x)


def test_nothing_is_left_behind():
    kinks = Kinks()
    with pytest.raises(ZeroDivisionError), kinks.recording():
        raise ZeroDivisionError
    assert F.relu(torch.tensor(-1.0)) == 0
    assert F.relu in HANDLERS
