from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from gradaudit.models import MODELS, build, input_check, load_weights
from gradaudit.models._torchvision_models import torchvision_model
from gradaudit.values.errors import AuditError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SMALL_TORCHVISION = ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"]
EVERY = torchvision.models.list_models(module=torchvision.models)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(name, channels=3, size=32, seed=0, num_classes=7, **options):
    torch.manual_seed(seed)
    return build(name, num_classes=num_classes, channels=channels, size=size, **options)


def equal(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", [*MODELS, *SMALL_TORCHVISION])
def test_forward_shape(name, channels):
    model = make(name, channels)
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 7)
    assert input_check(model, (channels, 32, 32), "cpu") == 7


@pytest.mark.parametrize("size", [9, 28, 33, 64])
@pytest.mark.parametrize("name", list(MODELS))
def test_other_sizes(name, size):
    if name.startswith("vit-") and size % 4:
        with pytest.raises(AuditError, match="size must be a multiple of 4"):
            make(name, 1, size)
        return
    assert make(name, 1, size)(torch.rand(2, 1, size, size)).shape == (2, 7)


@pytest.mark.parametrize("name", [*MODELS, "resnet18"])
def test_weights_come_from_the_global_generator(name):
    first = make(name, 1)
    assert equal(first, make(name, 1))
    assert not equal(first, make(name, 1, seed=1))


@pytest.mark.parametrize("name", [*MODELS, "shufflenet_v2_x0_5"])
def test_double_backward(name):
    model = make(name).eval()
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):  # torch's fused attention has no second derivative
        loss = cross_entropy(model(pictures), torch.tensor([3]))
    gradient = torch.autograd.grad(loss, tuple(model.parameters()), create_graph=True)
    (second,) = torch.autograd.grad(sum(g.square().sum() for g in gradient), pictures)
    assert second.isfinite().all()
    assert second.abs().sum() > 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in EVERY if not name.startswith("regnet")])
def test_every_torchvision_classifier_builds(name, monkeypatch):
    """Without a draw of its weights, which torch does in Python on this device."""
    monkeypatch.setattr(torch.Tensor, "normal_", lambda values, *_, **__: values)
    with torch.device("meta"):
        model = torchvision_model(name, 7, 1, 224)
        assert next(part for part in model.modules() if isinstance(part, nn.Conv2d)).in_channels == 1


def test_regnet():
    assert make("regnet_x_400mf", 1)(torch.rand(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_training_output_is_no_tuple(name):
    model = make(name, 3, 75).train()
    assert model(torch.rand(2, 3, 75, 75)).shape == (2, 7)


def test_transformers_fit_the_pictures():
    assert make("vit_b_32", 3, 32)(torch.rand(1, 3, 32, 32)).shape == (1, 7)
    with pytest.raises(AuditError, match="vit_b_16: torchvision cannot build it for 30 pixels: AssertionError"):
        make("vit_b_16", 3, 30)


def test_lenet_of_dlg():
    model = make("lenet", num_classes=100)
    assert sum(p.numel() for p in model.parameters()) == 912 + 2 * 3612 + 768 * 100 + 100
    values = torch.cat([p.flatten() for p in model.parameters()])
    assert values.min() >= -0.5
    assert values.max() <= 0.5
    assert abs(values.std() - 12**-0.5) < 0.01  # of a uniform distribution of width 1
    assert make("lenet", 1, 28)[-1].in_features == 588


def test_convnet_64_of_inverting_gradients():
    model = make("convnet-64", num_classes=10)
    convolutions = [part for part in model if isinstance(part, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 128, 256, 256, 256, 256, 256]
    assert model.linear.in_features == 36 * 64
    kinds = [type(part).__name__ for part in model]
    assert kinds.index("MaxPool2d") == 18
    assert kinds[21:24] == ["ReLU", "MaxPool2d", "Conv2d"]
    with pytest.raises(AuditError, match="convnet-64: images must be at least 9 pixels wide, got 8"):
        make("convnet-64", 3, 8)


def test_networks_of_fedavg():
    # McMahan et al. give 1 663 370 and 199 210 parameters on MNIST.
    assert sum(p.numel() for p in make("fedavg-cnn", 1, 28, num_classes=10).parameters()) == 1_663_370
    assert sum(p.numel() for p in make("mlp", 1, 28, num_classes=10).parameters()) == 199_210
    with pytest.raises(AuditError, match="fedavg-cnn: images must be at least 4 pixels wide, got 3"):
        make("fedavg-cnn", 3, 3)


@pytest.mark.parametrize(("name", "parameters"), [("resnet20", 269_722), ("resnet32", 464_154)])
def test_residual_networks_of_he(name, parameters):
    # The paper rounds to 0.27 and 0.46 million.
    assert sum(p.numel() for p in make(name, num_classes=10).parameters()) == parameters


@pytest.mark.parametrize("name", ["resnet20", "resnet32"])
def test_published_weights_reach_their_accuracy(name):
    weights, pictures = SHARED / "weights" / f"cifar10_{name}.npz", SHARED / "cifar10_test.npz"
    if not (weights.is_file() and pictures.is_file()):
        pytest.skip("the shared data is not on this machine")
    model = make(name, num_classes=10)
    load_weights(model, weights)
    with np.load(pictures) as archive:
        images, labels = torch.from_numpy(archive["images"][:250]), torch.from_numpy(archive["labels"][:250])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = model.eval()(((images / 255 - mean) / std).permute(0, 3, 1, 2))
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.88


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_cifar_stem(name, channels):
    model = make(name, channels, cifar_stem=True)
    assert model.conv1.weight.shape == (64, channels, 3, 3)
    assert model.conv1.stride == (1, 1)
    seen = []
    model.layer1.register_forward_hook(lambda _, entering, __: seen.append(entering[0].shape))
    model.eval()(torch.rand(1, channels, 32, 32))
    assert seen == [(1, 64, 32, 32)]


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet20", "lenet"])
def test_no_cifar_stem(name):
    with pytest.raises(AuditError, match=f"{name}: cifar_stem is for torchvision's resnet, resnext and wide_resnet"):
        make(name, cifar_stem=True)


def test_replaced_first_convolution_keeps_the_rest():
    three, one = make("squeezenet1_1", 3).features[0], make("squeezenet1_1", 1).features[0]
    assert (one.stride, one.padding, one.bias.shape) == (three.stride, three.padding, three.bias.shape)
    assert one.weight.shape == (64, 1, 3, 3)


def test_models_that_cannot_change_their_channels(monkeypatch):
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: nn.Linear(3, 7))
    with pytest.raises(AuditError, match=r"resnet18: only its three-channel form .* the images have 1 channels"):
        make("resnet18", 1)


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet-18", "resnet18"), ("le-net", "lenet"), ("convnet64", "convnet-64"), ("qqqq", "")]
)
def test_unknown_name(name, hint):
    with pytest.raises(AuditError, match=rf"no model '{name}'\..*{hint}.*Known: .*lenet, .*, or any torchvision class"):
        make(name)


@pytest.mark.parametrize("option", ["num_classes", "channels", "size"])
def test_numbers_below_one(option):
    numbers = {"num_classes": 7, "channels": 3, "size": 32} | {option: 0}
    with pytest.raises(AuditError, match=f"mlp: {option} must be at least 1, got 0"):
        build("mlp", **numbers)
