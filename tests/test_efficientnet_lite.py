"""EfficientNet-Lite0: its layers, and what it sees with the published ImageNet weights."""

import numpy as np
import pytest
import torch
from torch import nn

from gradaudit.models import build, load_weights
from gradaudit.models.efficientnet_lite import SamePadded


def test_the_published_size():
    model = build("efficientnet-lite0", num_classes=1000, channels=3, size=224)
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 49
    assert all(not module.inplace for module in model.modules() if hasattr(module, "inplace"))


@pytest.mark.parametrize(("side", "stride", "padded"), [(4, 1, (1, 1)), (5, 2, (1, 1)), (4, 2, (0, 1))])
def test_an_odd_padding_is_at_the_right_and_bottom(side, stride, padded):
    layer = SamePadded(1, 1, 3, stride, bias=False)
    inputs = torch.rand(1, 1, side, side)
    expected = nn.functional.conv2d(nn.functional.pad(inputs, (*padded, *padded)), layer.weight, stride=stride)
    assert torch.equal(layer(inputs), expected)


def test_recognises_pictures_with_the_published_weights(shared_data):
    """Of all 56 of the file, 98.2 % are right."""
    model = build("efficientnet-lite0", num_classes=1000, channels=3, size=224).eval()
    load_weights(model, shared_data / "weights" / "efficientnet_lite0_imagenet.npz")
    with np.load(shared_data / "imagenet_samples_224.npz") as file:
        pictures, labels = (torch.from_numpy(file[name][:12]) for name in ("images", "labels"))
    inputs = (pictures.permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        right = model(inputs).argmax(1) == labels
    assert right.sum() >= 11
