"""Pixels whose feature map early in a network, and whose gradient of the stem, are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ..inversion.attack import Watch
from ..inversion.parts.part import Progress
from ..inversion.parts.priors.total_variation import TotalVariation
from ..protocol.observation import Observation

FACTORS = {4: 1 / 4, 2: 1 / 4, 1: 1 / 2}  # factor of the resolution -> share of the steps


class KnownMap(NamedTuple):
    """What is known of a batch behind the front of a network.

    Args:
        front: The front: normalised images `[B, C, H, W]` -> map.
        target: The map of the batch.
        slopes: The gradient of the loss with respect to the map, or `None` if the stem is not compared.
        weight: The weight of the first convolution.
        gradient: Its gradient.
    """

    front: Callable[[Tensor], Tensor]
    target: Tensor
    slopes: Tensor | None
    weight: Tensor
    gradient: Tensor

    def errors(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the relative squared errors of the map, averaged over the batch, and of the stem's gradient."""
        made = self.front(inputs)
        axes = tuple(range(1, made.ndim))
        apart = ((made - self.target).square().sum(axes) / self.target.square().sum(axes)).mean()
        if self.slopes is None:
            return apart, 0 * apart
        (slope,) = torch.autograd.grad((made * self.slopes).sum(), self.weight, create_graph=True)
        return apart, (slope - self.gradient).square().sum() / self.gradient.square().sum()


def fitted_pixels(
    seen: Observation, known: KnownMap, steps: int, lr: float, variation: float, watch: Watch | None
) -> tuple[Tensor, list[tuple[int, float]]]:
    """Return normalised pixels that have the map, found by Adam at three resolutions, and the trace of both errors.

    Args:
        seen: What the adversary sees.
        known: What is known of the batch.
        steps: Number of steps: a quarter each at a quarter and half of the resolution, half of them at the full one.
        lr: First learning rate at each resolution; it decays to zero along half a cosine.
        variation: Weight of total variation.
        watch: Callback, called with the steps done and the errors.
    """
    prior, (low, high), size = TotalVariation(), seen.normalisation.box(known.target), seen.input_shape[1:]
    inputs = 0.1 * torch.randn(len(known.target), *seen.input_shape).to(known.target)
    trace: list[tuple[int, float]] = []
    done = 0
    for factor, share in FACTORS.items():
        small = adaptive_avg_pool2d(inputs, [-(-side // factor) for side in size]).clone().requires_grad_()
        optimiser, count = torch.optim.Adam([small], lr=lr), max(1, round(steps * share))
        for step in range(count):
            optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / count))
            large = interpolate(small, size=size, mode="bilinear", align_corners=False) if factor > 1 else small
            error = sum(known.errors(large))
            total = error + variation * prior(large, Progress(done, steps))
            (small.grad,) = torch.autograd.grad(total, small)
            optimiser.step()
            with torch.no_grad():
                small.clamp_(low, high)
            done += 1
            if done % 20 == 1 or step + 1 == count:
                trace.append((done, float(torch.as_tensor(error).detach())))
                if watch is not None:
                    watch(done, steps, trace[-1][1])
        inputs = interpolate(small, size=size, mode="bilinear", align_corners=False) if factor > 1 else small
        inputs = inputs.detach()
    return inputs, trace
