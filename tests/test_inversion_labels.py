import pytest
import torch
from torch import nn

from conftest import make_batch
from gradaudit import Client, Level
from gradaudit.inversion.parts.labels import IDLG
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed


class SignedNet(nn.Module):
    """Features of mixed sign: row sums of the head's gradient say nothing there."""

    def __init__(self, bias, activation):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), activation)
        self.norm = nn.BatchNorm1d(30)
        self.head = nn.Linear(30, 10, bias=bias)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.GELU()], ids=repr)
def test_idlg_is_right_for_every_single_example(bias, activation):
    for seed in range(15):
        torch.manual_seed(seed)
        batch = make_batch(1, seed=seed)
        seen = Client(SignedNet(bias, activation).eval()).share(batch, Level.BASIC)
        assert torch.equal(IDLG().infer(seen, 1).values, batch.labels)


def test_idlg_with_two_classes_and_no_bias():
    for seed in range(10):
        torch.manual_seed(seed)
        batch = make_batch(1, classes=2, seed=seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Sigmoid(), nn.Linear(8, 2, bias=False))
        assert torch.equal(IDLG().infer(Client(net).share(batch, Level.BASIC), 1).values, batch.labels)


def test_idlg_reads_past_a_little_noise_and_fails_under_much():
    def right(std):
        hits = 0
        for seed in range(30):
            torch.manual_seed(seed)
            batch = make_batch(1, seed=seed)
            client = Client(SignedNet(True, nn.ReLU()).eval(), defenses=[GaussianNoise(std)])
            hits += torch.equal(IDLG().infer(client.share(batch, Level.BASIC, seed=seed), 1).values, batch.labels)
        return hits / 30

    assert right(0.01) == 1
    assert right(10.0) < 0.5


def test_idlg_refuses_what_it_cannot_read(client, batch):
    with pytest.raises(AttackFailed, match=r"one example, but this update has 2. Grant LABELS"):
        IDLG().infer(client.share(batch, Level.BASIC), 1)
