"""An untrained convolutional network as the image: fixed noise in, images out, its weights optimised (CI-Net)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ....values.validation import Count, NonNegative
from ..part import Candidate, Parametrisation, require_batch_size

FIRST = 4  # side of the first feature map


@dataclass(frozen=True)
class UntrainedNetwork(Parametrisation):
    """The weights of an untrained convolutional network that maps fixed noise to the images.

    The noise is `z` `[B, noise]`, drawn once from N(0, 1). A transposed convolution maps it to `c` channels at about
    4 x 4. Each block doubles the side (nearest neighbour) and applies twice a 3 x 3 convolution, BatchNorm over the
    generated batch, and a leaky ReLU of slope 0.1. A 1 x 1 convolution and a tanh give the images, pixels in [0, 1]
    (Zhang et al., ICCV 2023). The structure of the network is the prior, as in the deep image prior (Ulyanov et al.,
    2018): smooth images are reached first. `c` is `width`, doubled until the network has more than `excess · B · H · W`
    parameters.

    The first feature map has sides of at least 4 that give H and W after whole doublings, or else the next larger ones,
    and the images are then the centre. One block is used at least. The authors' spectral normalisation is omitted: each
    convolution is followed by BatchNorm, which cancels every scale of the weights.

    The variables are the weights, `[S, ...]` each.

    Args:
        noise: Width of `z`.
        width: Least number of channels.
        excess: Least number of parameters for each pixel position of the batch.
        labels: Whether a linear layer also maps `z` to the logits of the labels, as in GRNN (Ren, Deng & Xie, 2022).
    """

    needs = Knowledge.BATCH_SIZE
    modality = Modality.PICTURES
    noise: Count = 128
    width: Count = 32
    excess: NonNegative = 4.0
    labels: bool = False

    @property
    def makes_labels(self) -> bool:  # type: ignore[override]
        """Whether the network also produces the labels."""
        return self.labels

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return fresh weights and noise.

        Raise `AttackFailed` if inputs are not images or there was a previous stage.
        """
        if previous is not None or len(seen.input_shape) != 3:
            raise AttackFailed(f"{self!r} generates images [C, H, W], and only in an attack's first stage.")
        like, examples = seen.update.values[0], require_batch_size(seen, self)
        z = torch.randn(seeds, examples, self.noise, device=like.device, dtype=like.dtype)
        classes = seen.classes if self.labels else 0
        nets = [self.network(seen.input_shape, examples, classes) for _ in range(seeds)]
        return _WeightCandidate([net.to(device=like.device, dtype=like.dtype) for net in nets], z, seen)

    def network(self, shape: tuple[int, ...], examples: int, classes: int = 0) -> nn.Module:
        """Return an untrained network `[B, noise]` -> images of at least `shape`, `[C, H, W]`, for so many examples."""
        channels, *size = shape
        blocks = max(1, math.floor(math.log2(max(size) / FIRST)))
        first = (-(-size[0] // 2**blocks), -(-size[1] // 2**blocks))
        width, least = self.width, self.excess * examples * math.prod(size)
        while True:
            net = _Network(self.noise, width, first, blocks, channels, classes)
            if sum(parameter.numel() for parameter in net.image.parameters()) > least:
                return net
            width *= 2


class _WeightCandidate(Candidate):
    def __init__(self, nets: list[nn.Module], z: Tensor, seen: Observation) -> None:
        self.net, self.z, self.seen = nets[0].train(), z, seen
        states = [dict(net.named_parameters()) for net in nets]
        self.variables = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}
        self.labelled = self.net.label is not None

    def decode(self) -> Tensor:
        pictures = self._all("image")
        _, height, width = self.seen.input_shape
        top, left = (pictures.shape[-2] - height) // 2, (pictures.shape[-1] - width) // 2
        return self.seen.normalisation.apply(pictures[..., top : top + height, left : left + width])

    def logits(self) -> Tensor | None:
        return self._all("label") if self.labelled else None

    def _all(self, branch: str) -> Tensor:
        """Return the outputs of the networks of all seeds, `[S, B, ...]`."""
        states = [{name: of_all[seed] for name, of_all in self.variables.items()} for seed in range(len(self.z))]
        outputs = [functional_call(self.net, own, (z, branch)) for own, z in zip(states, self.z, strict=True)]
        return torch.stack(outputs)


class _Network(nn.Module):
    def __init__(
        self, noise: int, width: int, first: tuple[int, int], blocks: int, channels: int, classes: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ConvTranspose2d(noise, width, first)]
        for _ in range(blocks):
            layers.append(nn.Upsample(scale_factor=2))
            for _ in range(2):
                layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(width, track_running_stats=False), nn.LeakyReLU(0.1)]
        self.image = nn.Sequential(*layers, nn.Conv2d(width, channels, 1), nn.Tanh())
        self.label = nn.Linear(noise, classes) if classes else None

    def forward(self, z: Tensor, branch: str) -> Tensor:
        if branch == "label":
            assert self.label is not None
            return self.label(z)
        return (self.image(z[..., None, None]) + 1) / 2
