from __future__ import annotations

import pytest
import torch
from torch import nn

from gradaudit.errors import AuditError
from gradaudit.models import build, input_check


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
    with pytest.raises(AuditError, match=r"cannot take pictures of shape \[3, 4, 4\]: RuntimeError: .*\.$") as caught:
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
        (torch.zeros(1, 2, 3), r"shape \[1, 2, 3\]"),
        (torch.zeros(4), r"shape \[4\]"),
        (torch.zeros(2, 4), r"shape \[2, 4\]"),
        ((torch.zeros(1, 4), None), "type tuple"),
    ],
)
def test_outputs_that_are_no_logits(value, what):
    with pytest.raises(AuditError, match=rf"returned a value of {what}, not logits \[1, K\]"):
        input_check(Returns(value), (3, 4, 4), "cpu")
