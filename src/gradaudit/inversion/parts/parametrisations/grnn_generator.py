"""A generator trained on one update: fixed noise in, images and labels out (GRNN; Ren, Deng & Xie, 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ..part import Candidate, Parametrisation, require_batch_size

FIRST = 4  # side of the first feature map


@dataclass(frozen=True)
class GRNNGenerator(Parametrisation):
    """The weights of a generator that maps fixed noise to images and labels.

    The noise is `z` `[B, noise]`, drawn once from N(0, 1). The image branch (doi:10.1145/3510032; sizes as in the
    authors' code) maps `z` by a transposed convolution and a gated linear unit to `width * 2^b` channels at 4 x 4. It
    doubles the side `b + 1` times (nearest neighbour, 3 x 3 convolution, BatchNorm over the generated batch, gated
    linear unit) and halves the channels each time but the last, which yields the image's channels, and ends in a
    sigmoid: pixels in [0, 1]. The label branch is one linear layer and a softmax. All layers are initialised by torch's
    defaults, as in the authors' code, whose declared N(0, 0.02) is not applied.

    Deviation: the generator makes squares whose side is a power of two; other images are the centre of the next larger
        one.

    The variables are the weights, `[S, ...]` each.

    Args:
        noise: Width of `z`.
        width: Channels before the last block.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    makes_labels: ClassVar[bool] = True
    noise: int = 128
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.noise, self.width) < 1:
            raise AttackFailed(
                f"GRNNGenerator: noise and width must be at least 1. Found {self.noise} and {self.width}."
            )

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return fresh weights and noise.

        Raise `AttackFailed` if inputs are not images or there was a previous stage.
        """
        if previous is not None or len(seen.input_shape) != 3:
            raise AttackFailed(f"{self!r} generates images [C, H, W], and only in an attack's first stage.")
        like = seen.update.values[0]
        z = torch.randn(seeds, require_batch_size(seen, self), self.noise, device=like.device, dtype=like.dtype)
        channels, *size = seen.input_shape
        blocks = max(1, math.ceil(math.log2(max(size) / FIRST)))
        nets = [
            _Generator(self, channels, blocks, seen.classes).to(device=like.device, dtype=like.dtype)
            for _ in range(seeds)
        ]
        return _Generated(nets, z, seen)


class _Generated(Candidate):
    def __init__(self, nets: list[_Generator], z: Tensor, seen: Observation) -> None:
        self.net, self.z, self.seen = nets[0].train(), z, seen
        states = [dict(net.named_parameters()) for net in nets]
        self.variables = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}

    def decode(self) -> Tensor:
        pictures = torch.stack([self._of(seed, z, "image") for seed, z in enumerate(self.z)])
        _, height, width = self.seen.input_shape
        side = pictures.shape[-1]
        top, left = (side - height) // 2, (side - width) // 2
        return self.seen.normalisation.apply(pictures[..., top : top + height, left : left + width])

    def logits(self) -> Tensor:
        return torch.stack([self._of(seed, z, "label") for seed, z in enumerate(self.z)])

    def _of(self, seed: int, z: Tensor, branch: str) -> Tensor:
        own = {name: value[seed] for name, value in self.variables.items()}
        return functional_call(self.net, own, (z, branch))


class _Generator(nn.Module):
    def __init__(self, of: GRNNGenerator, channels: int, blocks: int, classes: int) -> None:
        super().__init__()
        wide = of.width * 2 ** (blocks - 1)
        layers: list[nn.Module] = [nn.ConvTranspose2d(of.noise, 2 * wide, FIRST), nn.GLU(dim=1)]
        for number in range(blocks):
            out = channels if number + 1 == blocks else wide // 2
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(wide, 2 * out, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(2 * out, track_running_stats=False), nn.GLU(dim=1)]
            wide = out
        self.image = nn.Sequential(*layers, nn.Sigmoid())
        self.label = nn.Linear(of.noise, classes)

    def forward(self, z: Tensor, branch: str) -> Tensor:
        return self.label(z) if branch == "label" else self.image(z[..., None, None])
