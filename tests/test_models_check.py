from __future__ import annotations

import pytest
import torch
from torch import nn

from gradaudit.models import build, input_check
from gradaudit.values.errors import AuditError


def test_returns_the_classes_and_changes_nothing():
    model = build("convnet-64", num_classes=5, channels=3, size=32).train()
    model.norm0.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    assert input_check(model, (3, 32, 32), "cpu") == 5
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_pictures_that_do_not_fit():
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 2)).train()
    with pytest.raises(
        AuditError, match=r"cannot take images of shape \[3, 4, 4\]: stopped with RuntimeError: .*\.$"
    ) as caught:
        input_check(model, (3, 4, 4), "cpu")
    assert "\n" not in str(caught.value)
    assert model.training


class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, _):
        return self.value


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (torch.zeros(1, 2, 3), r"a value of shape \[1, 2, 3\], not logits \[1, K\]"),
        (torch.zeros(4), r"a value of shape \[4\], not logits"),
        (torch.zeros(2, 4), r"a value of shape \[2, 4\], not logits"),
        ((torch.zeros(1, 4), None), "a value of type tuple, not logits .*; return the logits alone"),
        ({"logits": torch.zeros(1, 4)}, "a value of type dict, not logits"),
        (None, "a value of type NoneType, not logits"),
        (torch.zeros(1, 4, dtype=torch.int64), "int64 numbers, not logits; return the scores before any argmax"),
        (torch.zeros(1, 4, dtype=torch.complex64), "complex64 numbers, not logits"),
        (torch.full((1, 4), torch.nan), "logits that hold NaN or infinity"),
        (torch.tensor([[1.0, torch.inf]]), "logits that hold NaN or infinity"),
        (torch.zeros(1, 1), "one logit, and cross entropy .* give the model two logits, one for each class"),
        (torch.zeros(1, 0), "no logits, and cross entropy"),
    ],
)
def test_outputs_that_are_no_logits(value, what):
    with pytest.raises(AuditError, match=rf"model: for one image of shape \[3, 4, 4\] it returned {what}") as caught:
        input_check(Returns(value), (3, 4, 4), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_an_example_has_the_precision_of_the_model(kind):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).to(kind)
    assert input_check(model, (3, 8, 8), "cpu") == 5


def test_a_model_that_exits_or_cannot_speak_is_refused_in_one_line():
    class Exits(nn.Module):
        def forward(self, _):
            raise SystemExit(0)

    with pytest.raises(AuditError, match="stopped with SystemExit"):
        input_check(Exits(), (3, 4, 4), "cpu")


def test_a_model_that_divides_by_the_spread_of_its_input():
    class Standardises(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(48, 2)

        def forward(self, x):
            x -= x.mean()  # in place, too
            return self.fc((x / x.std()).flatten(1))

    assert input_check(Standardises(), (3, 4, 4), "cpu") == 2
