"""The networks that every benchmark measures, and one observed update for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import gradaudit as ga
from gradaudit.models import build

CLASSES = 10
NORMALISATION = ga.Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _built(name: str, **options: bool) -> Callable[[int], nn.Module]:
    return lambda size: build(name, num_classes=CLASSES, channels=3, size=size, **options)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "lenet": _built("lenet"),
    "convnet-64": _built("convnet-64"),
    "fedavg-cnn": _built("fedavg-cnn"),
    "resnet18": _built("resnet18"),
    "resnet18-cifar-stem": _built("resnet18", cifar_stem=True),
    "vit-tiny": _built("vit-tiny"),
}
"""Name -> function of the side of the square images."""


def has_batch_norm(name: str) -> bool:
    """Return whether the network has BatchNorm layers, so that it is measured in both modes."""
    return any(isinstance(module, nn.BatchNorm2d) for module in NETWORKS[name](32).modules())


def observe(name: str, batch: int, size: int, batch_norm: str, seed: int = 0) -> tuple[ga.Batch, ga.Observation]:
    """Return a random batch, and what an adversary with labels sees of its gradient."""
    torch.manual_seed(seed)
    model = NETWORKS[name](size)
    private = ga.Batch(torch.rand(batch, 3, size, size), torch.arange(batch) % CLASSES)
    client = ga.Client(model, ga.FedSGD(batch_norm=batch_norm), normalisation=NORMALISATION)
    return private, client.share(private, ga.Level.PRIORS | ga.Knowledge.LABELS)
