"""One step of a local optimiser on one parameter, as differentiable functions without side effects.

The arithmetic is that of `torch.optim`, whose own steps write in place and cannot be differentiated.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """The optimiser's state of one parameter between two steps; its tensors have the shape of the parameter.

    Args:
        steps: Number of steps so far.
        first: SGD's velocity, or Adam's running mean of the gradient.
        second: Adam's running mean of the squared gradient; empty for SGD.
    """

    steps: int
    first: Tensor
    second: Tensor


def sgd(
    parameter: Tensor,
    gradient: Tensor,
    before: Moments | None,
    *,
    rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> tuple[Tensor, Moments | None]:
    """Return the parameter after one step of `torch.optim.SGD` without dampening, and the optimiser's state."""
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    if not momentum:
        return parameter - rate * gradient, None
    velocity = gradient if before is None else momentum * before.first + gradient
    direction = gradient + momentum * velocity if nesterov else velocity
    steps = 1 if before is None else before.steps + 1
    return parameter - rate * direction, Moments(steps, velocity, velocity.new_empty(0))


def adam(
    parameter: Tensor,
    gradient: Tensor,
    before: Moments | None,
    *,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Moments | None]:
    """Return the same for `torch.optim.Adam` (Kingma and Ba, 2015, algorithm 1), with decay added to the gradient."""
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    steps, first, second = before or Moments(0, torch.zeros_like(gradient), torch.zeros_like(gradient))
    steps += 1
    first = first.lerp(gradient, 1 - betas[0])
    second = betas[1] * second + (1 - betas[1]) * gradient.square()
    scale = _root(second) / (1 - betas[1] ** steps) ** 0.5 + eps
    moved = parameter - rate / (1 - betas[0] ** steps) * (first / scale)
    return moved, Moments(steps, first, second)


def _root(second: Tensor) -> Tensor:
    """Return the square root, with derivative 0 where the gradient is exactly 0, as that of an inactive ReLU is."""
    alive = second > 0
    return torch.where(alive, torch.where(alive, second, 1.0).sqrt(), 0.0)
