"""A cell for studies of networks: an attack on a network given as a value, and what explains the leak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from ..client.participant import Client
from ..metrics.gradient_smoothness import SmoothnessEffort
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Comparison, Table, Values
from ._generator_rows import unmade
from ._sized_bench import at_size
from ._smoothness import Explained

LEAKS = ("ssim", "psnr", "lpips")
SMALLER = ("lpips",)
EXPLAINED = {
    "quick": Explained(SmoothnessEffort(points=1, probes=2), steps=2),
    "default": Explained(SmoothnessEffort(points=2, probes=8), steps=8),
    "paper": Explained(),
}
EXPLAINED_LARGE = {**EXPLAINED, "default": Explained(SmoothnessEffort(points=1, probes=3), steps=3)}
"""For networks of millions of parameters, of which a product with the Jacobian takes seconds."""
LEAK_TABLE = Table(
    "Reconstructed images",
    {
        "LPIPS": "lpips",
        "SSIM": "ssim",
        "PSNR, dB": "psnr",
        "gain over the mean image, dB": "gain",
        "identified": "identified",
        "entries for each pixel value": "room",
        "seconds": "seconds",
    },
    digits=4,
    best="column",
    smaller=("lpips", "seconds"),
    unranked=("room",),
)


class Design(Protocol):
    """A frozen dataclass that builds a network; its `repr` identifies it."""

    def build(self, num_classes: int, channels: int, size: int) -> nn.Module:
        """Return the network with fresh weights from torch's global generator."""
        ...


@dataclass(frozen=True)
class DesignCell(AttackCell):
    """An attack on a network that has no name, at any size of the images.

    Cells with the same batch size and labels attack the same images, whatever their network and size.

    Args:
        design: Builds the network; by default the one with the name `network`.
        size: Side of the images in pixels, to which those of the data are resized; by default their own.
        explained: How IGSA and the recoverability are computed, if they are.
    """

    design: Design | None = None
    size: int | None = None
    explained: Explained | None = None

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        bench = at_size(bench, self.size)
        return super().missing(bench) or unmade(self.attack, bench.source.shape)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of an attack cell, `room` (shared entries for each pixel value), and what explains them."""
        bench = at_size(bench, self.size)
        values = super().measure(bench, seed)
        client = self.client(bench, seed)
        shared = sum(tensor.numel() for tensor in client.training.shared_parameters(client.model).values())
        found = {**values, "room": shared / (self.batch_size * torch.Size(bench.source.shape).numel())}
        if self.explained is None:
            return found
        batch, _ = self._drawn(bench, seed)
        return {**found, **self.explained.of(client, batch, bench.chance(seed))}

    def client(self, bench: Bench, seed: int) -> Client:
        """Return the client with the network of the design, initialised from `seed`."""
        if self.design is None:
            return super().client(bench, seed)
        channels, size, _ = bench.source.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.design.build(bench.classes, channels, size).to(bench.device)
        defenses = (self.defense,) if self.defense else ()
        return Client(model, training=self.training, defenses=defenses, normalisation=bench.normalisation)


def leaks_more(claim: str, better: str, worse: str, columns: Sequence[str] = LEAKS) -> tuple[Comparison, ...]:
    """Return the claim that one cell leaks more than another, in each of these columns."""
    one = Comparison(claim, better, worse, "")
    return tuple(replace(one, column=column, smaller=column in SMALLER) for column in columns)
