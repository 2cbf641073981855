import hashlib
import importlib
import math
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from gradaudit.metrics import LPIPS_NEEDS, METRICS, Compared, lpips, perceptual_network
from gradaudit.metrics.recognisable import lpips_bar

package = pytest.importorskip("lpips")
room = importlib.import_module("gradaudit.metrics.lpips")  # the function of this name hides the module
shared = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def features():
    """The convolutions of an AlexNet with random weights: the arithmetic can be tested without the real ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.alexnet(weights=None).features.eval()


@pytest.fixture(scope="module")
def network(features):
    return room._build({f"features.{name}": value for name, value in features.state_dict().items()})


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Neither folder holds the weights."""
    monkeypatch.setenv("GRADAUDIT_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def stages(features, inputs):
    """torchvision's features after each of AlexNet's five ReLUs."""
    outputs = []
    for layer in features[:12]:  # the last pooling is not used
        inputs = layer(inputs.clone())  # its ReLUs work in place
        if isinstance(layer, torch.nn.ReLU):
            outputs.append(inputs)
    return outputs


@torch.no_grad()
def test_backbone_gives_the_features_of_torchvision(features, network):
    inputs = torch.rand(2, 3, 64, 48)
    ours, theirs = network.net(inputs), stages(features, inputs)
    assert len(ours) == len(theirs) == 5
    for left, right in zip(ours, theirs, strict=True):
        assert torch.equal(left, right)


@torch.no_grad()
def test_equals_equation_1_written_out(features, network):
    """Features of ImageNet-normalised pictures, unit length over channels, weighted by the published heads."""
    guess, truth = torch.rand(3, 3, 40, 64), torch.rand(3, 3, 40, 64)
    heads = torch.load(Path(package.__file__).parent / "weights/v0.1/alex.pth", "cpu", weights_only=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = [(side - mean.view(-1, 1, 1)) / std.view(-1, 1, 1) for side in (guess, truth)]
    expected = torch.zeros(3)
    for i, (left, right) in enumerate(zip(*(stages(features, side) for side in normalised), strict=True)):
        squares = (torch.nn.functional.normalize(left) - torch.nn.functional.normalize(right)).square()
        expected += (squares * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
    assert lpips(network, guess, truth).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_heads_are_the_published_ones(network):
    path = shared / "weights" / "lpips_linear_heads_v01_alex.npz"
    if not path.is_file():
        pytest.skip("the published heads are not at hand as a second copy")
    published = [values.ravel() for _, values in sorted(np.load(path).items())]
    for head, values in zip(network.lins, published, strict=True):
        assert head.model[1].weight.flatten().tolist() == pytest.approx(values.tolist())


def test_distance_properties(network):
    truth = torch.rand(4, 3, 32, 32)
    noise = torch.randn_like(truth)
    assert lpips(network, truth, truth).tolist() == [0.0] * 4
    near, far = (lpips(network, truth + amount * noise, truth) for amount in (0.02, 0.2))
    assert (near > 0).all()
    assert (near < far).all()
    assert torch.equal(lpips(network, truth * 3 - 1, (truth * 3 - 1).clamp(0, 1)), torch.zeros(4).double())
    order = torch.tensor([2, 0, 3, 1])
    permuted = lpips(network, (truth + noise)[order], truth[order])
    assert permuted.tolist() == pytest.approx(lpips(network, truth + noise, truth)[order].tolist(), rel=1e-4)


def test_feeds_minus_1_to_1():
    """Breaching fed [0, 1] to the scaling layer (B17)."""
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, left, right):
            seen.extend([left, right])
            return (left - right).square().mean((1, 2, 3), keepdim=True)

    black, white = torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32)
    assert lpips(Spy(), black, white).tolist() == [4.0, 4.0]
    assert (seen[0] == -1).all()
    assert (seen[1] == 1).all()


def test_grey_pictures_are_repeated_over_the_channels(network):
    guess, truth = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    coloured = lpips(network, guess.expand(-1, 3, -1, -1), truth.expand(-1, 3, -1, -1))
    assert lpips(network, guess, truth).tolist() == pytest.approx(coloured.tolist())


def test_nan_is_read_as_mid_grey(network):
    truth = torch.rand(1, 3, 32, 32)
    assert torch.equal(
        lpips(network, torch.full_like(truth, math.nan), truth), lpips(network, torch.full_like(truth, 0.5), truth)
    )


@pytest.mark.parametrize("size", [(3, 30, 64), (3, 64, 30), (2, 32, 32), (4, 32, 32)])
def test_none_where_it_does_not_apply(network, size):
    pictures = torch.rand(2, *size)
    assert lpips(network, pictures, pictures) is None
    assert "31 x 31" in LPIPS_NEEDS


def test_smallest_side_that_applies(network):
    assert lpips(network, torch.rand(1, 3, 31, 31), torch.rand(1, 3, 31, 31)).shape == (1,)


def test_reason_without_the_weights_says_what_to_put_where(nowhere, monkeypatch):
    network, reason = perceptual_network()
    assert network is None
    assert "alexnet-owt-7be5be79.pth" in reason
    assert str(nowhere / "assets") in reason
    assert str(nowhere / "hub" / "checkpoints") in reason
    monkeypatch.delenv("GRADAUDIT_ASSETS")
    assert "GRADAUDIT_ASSETS" in perceptual_network()[1]
    assert "\n" not in reason


def test_reason_does_not_name_the_user(nowhere, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: nowhere)
    assert "~/assets" in perceptual_network()[1]
    assert str(nowhere) not in perceptual_network()[1]


def test_reason_without_the_package(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    network, reason = perceptual_network()
    assert network is None
    assert "gradaudit[perceptual]" in reason


def test_refuses_a_file_of_another_content(nowhere):
    (nowhere / "assets").mkdir()
    (nowhere / "assets" / "alexnet-owt-7be5be79.pth").write_bytes(b"not the weights")
    network, reason = perceptual_network()
    assert network is None
    assert "SHA-256" in reason


@pytest.mark.parametrize("folder", ["assets", "hub/checkpoints"])
def test_builds_on_the_file_without_a_word_or_a_draw(nowhere, monkeypatch, capfd, features, folder):
    """With a stand-in for the weights, whose digest is taken for the published one."""
    (nowhere / folder).mkdir(parents=True)
    file = nowhere / folder / "alexnet-owt-7be5be79.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, file)
    monkeypatch.setattr(room, "_DIGEST", hashlib.sha256(file.read_bytes()).hexdigest()[:8])
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("a download was tried"))
    before = torch.random.get_rng_state()
    network, reason = perceptual_network()
    assert reason == ""
    assert torch.equal(network.net.state_dict()["slice2.3.weight"], features[3].weight)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(before, torch.random.get_rng_state())
    assert perceptual_network()[0] is network
    assert capfd.readouterr() == ("", "")


def test_value_with_the_real_weights():
    network, reason = perceptual_network()
    if network is None:
        pytest.skip(reason)
    truth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert lpips(network, truth, truth).item() == 0
    assert lpips(network, truth.flip(3), truth).item() > 0.01


@pytest.fixture
def named(nowhere, monkeypatch):
    """Name a file by GRADAUDIT_LPIPS; returns what `perceptual_network` says then."""

    def name(path):
        monkeypatch.setenv("GRADAUDIT_LPIPS", str(path))
        return perceptual_network()

    return name


def trunk_of(features, ending, folder):
    """A file of the convolutions alone."""
    tensors = {f"features.{name}": value for name, value in features.state_dict().items()}
    path = folder / f"trunk{ending}"
    if ending == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in tensors.items()})
    else:
        torch.save(tensors, path)
    return path, room._digest(tensors)


@pytest.mark.parametrize("ending", [".npz", ".pth"])
def test_a_file_of_the_convolutions_alone_is_known_by_its_values(named, nowhere, monkeypatch, features, ending):
    path, digest = trunk_of(features, ending, nowhere)
    assert "does not hold the convolutions" in named(path)[1]
    monkeypatch.setattr(room, "_TRUNK_DIGEST", digest[:8])
    room._load.cache_clear()
    network, reason = named(path)
    assert reason == ""
    assert torch.equal(network.net.state_dict()["slice2.3.weight"], features[3].weight)


def test_a_named_file_that_is_missing_or_no_weights_is_said(named, nowhere):
    assert "GRADAUDIT_LPIPS" in named(nowhere / "none.npz")[1]
    (nowhere / "text.npz").write_text("no weights")
    assert "unreadable" in named(nowhere / "text.npz")[1]


def test_the_real_convolutions_and_the_bar(named):
    """An image and itself, noisier and noisier: the distance passes the SoK's bars in the order of the noise."""
    path = shared / "weights" / "lpips_trunk_alexnet.npz"
    if not path.is_file():
        pytest.skip("the convolutions of AlexNet are not at hand")
    network, reason = named(path)
    assert reason == ""
    with np.load(shared / "cifar10_test.npz") as archive:
        truth = torch.from_numpy(archive["images"][:8]).permute(0, 3, 1, 2) / 255
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    near, far = (lpips(network, truth + level * noise, truth) for level in (0.02, 1.0))
    assert (near < 0.1).all()
    assert (far > 0.1).all()
    guesses = Compared(torch.cat([truth, truth + noise]), torch.cat([truth, truth]))
    assert METRICS["recognisable"].compute(guesses).tolist() == [1.0] * 8 + [0.0] * 8
    assert lpips_bar((3, 63, 64)) == 0.1
    assert lpips_bar((3, 64, 64)) == 0.3


def test_the_option_names_the_file(gradaudit, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADAUDIT_LPIPS", "")
    code, _, error = gradaudit("audit", "none.yaml", "--lpips", tmp_path / "none.npz")
    assert code == 2
    assert "--lpips" in error
    (tmp_path / "trunk.npz").write_bytes(b"")
    gradaudit("audit", "none.yaml", "--lpips", tmp_path / "trunk.npz")
    assert os.environ["GRADAUDIT_LPIPS"] == str(tmp_path / "trunk.npz")
