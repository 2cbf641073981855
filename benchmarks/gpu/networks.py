"""The networks of the GPU benchmark, and one observed update for each, on the device."""

from __future__ import annotations

import torch

import gradaudit as ga
from gradaudit.models import build

from ..networks import CLASSES, NETWORKS, NORMALISATION


def observe(name: str, batch: int, size: int, device: str, smooth: bool = False) -> tuple[ga.Batch, ga.Observation]:
    """Return a random batch, and what an adversary with labels sees of its gradient; all on the device.

    Args:
        name: A network of `benchmarks.networks`, or the name of a model as in an audit file.
        batch: Number of images.
        size: Side of the images.
        device: Name of the device.
        smooth: Whether the images are smooth instead of noise, so that a prior on the variation helps.
    """
    torch.manual_seed(0)
    made = NETWORKS[name](size) if name in NETWORKS else build(name, num_classes=CLASSES, channels=3, size=size)
    pictures = torch.rand(batch, 3, *((5, 5) if smooth else (size, size)))
    if smooth:
        pictures = torch.nn.functional.interpolate(pictures, (size, size), mode="bicubic").clamp(0, 1)
    private = ga.Batch(pictures.to(device), (torch.arange(batch) % CLASSES).to(device))
    client = ga.Client(made.to(device), ga.FedSGD(batch_norm="eval"), normalisation=NORMALISATION)
    return private, client.share(private, ga.Level.PRIORS | ga.Knowledge.LABELS)


def candidate(private: ga.Batch) -> torch.Tensor:
    """Return the same random candidate on every device, in the shape of the batch."""
    drawn = torch.randn(private.inputs.shape, generator=torch.Generator().manual_seed(1))
    return drawn.to(private.inputs)
