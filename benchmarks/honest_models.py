"""Honest models for `benchmarks.detectors`: torchvision's families and ours at initialisation, and trained networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from gradaudit.models import build, load_weights

FAMILIES = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_32",
    "wide_resnet50_2",
)
OURS = ("lenet", "mlp", "fedavg-cnn", "convnet-64", "cnn6", "vit-tiny", "resnet20", "resnet32")
SEEDS = (0, 1, 2)


class Honest(NamedTuple):
    """One honest model.

    Args:
        name: Its name.
        seed: Seed of its initialisation, or `None` for a trained network.
        weights: Name -> tensor.
    """

    name: str
    seed: int | None
    weights: dict[str, Tensor]


def initialised() -> Iterator[Honest]:
    """Yield every family with every seed."""
    for name in FAMILIES:
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = torchvision.models.get_model(name, weights=None, **more)
            yield Honest(name, seed, dict(model.state_dict()))
    for name in OURS:
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = build(name, num_classes=10, channels=3, size=32)
            yield Honest(f"{name} (32 pixels)", seed, dict(model.state_dict()))


def trained(folder: Path) -> Iterator[Honest]:
    """Yield every trained network of a folder of `.npz` files."""
    for path in sorted(folder.glob("*.npz")):
        if path.name.startswith("lpips_linear"):
            continue  # one non-negative weight for each channel, and no network
        with np.load(path) as file:
            weights = {name: file[name] for name in file.files}
        found = {}
        for name, value in weights.items():
            if name.endswith(".code"):
                key = name.removesuffix(".code")
                value, name = weights[f"{key}.codebook"][value], f"{key}.weight"
            if not name.endswith(".codebook"):
                found[name] = torch.from_numpy(np.asarray(value))
        yield Honest(path.stem, None, found)


def classifiers(folder: Path) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield name, network and data set of the trained CIFAR-10 networks of the folder."""
    for name in ("resnet20", "resnet32"):
        path = folder / f"cifar10_{name}.npz"
        if path.exists():
            model = build(name, num_classes=10, channels=3, size=32)
            load_weights(model, path)
            yield name, model, "cifar10_test.npz"
