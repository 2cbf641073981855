"""Fixtures that every room's tests share."""

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import nn

from gradaudit import Batch, Client, Normalisation
from gradaudit.values.chance import set_seed

# No deadlines: a busy machine is no failure. HYPOTHESIS_PROFILE=search draws new examples at every run.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

collect_ignore = [
    "federation"
]  # against the real Flower, NVFlare and Ray, by `.ci/federation` in an environment of its own
os.fsync = lambda _descriptor: None  # no test of this process loses power; a tenth of the time was spent there
torch.set_num_threads(1)  # tiny networks: a second thread costs more than it gives

LONG = {
    "test_tutorial",
    "test_additions",
    "test_additions_data",
    "test_mgia",
    "test_tableak",
    "test_vision_transformers",
}


def pytest_collection_modifyitems(items):
    """Run the longest modules first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.module.__name__ not in LONG)


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real data sets; the product never needs it."""
    if not SHARED.is_dir():
        pytest.skip(f"real data sets are not at {SHARED.parent.name}/{SHARED.name} beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _seeded():
    set_seed(0)


def smooth_net(classes=10, channels=1, size=8):
    """Small, smooth, with BatchNorm, and one linear head with a bias."""
    layers = [nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * size * size, classes)).eval()


def linear_net(classes=5, pixels=16):
    """One linear layer with a bias: the input is a row of the weight's gradient over the bias's."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))


def make_batch(size=2, channels=1, side=8, classes=10, seed=0):
    """Random pictures and distinct labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(classes, generator=generator)[:size]
    return Batch(torch.rand(size, channels, side, side, generator=generator), labels)


@pytest.fixture
def client():
    """A smooth network on 8 x 8 grey pictures."""
    return Client(smooth_net(), normalisation=Normalisation((0.5,), (0.25,)))


@pytest.fixture
def batch():
    """Two pictures for `client`."""
    return make_batch()


@pytest.fixture
def gradaudit(monkeypatch, capsys, tmp_path):
    """Run the command in `tmp_path`; gives (exit code, standard output, standard error)."""
    from gradaudit.commands import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradaudit", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
