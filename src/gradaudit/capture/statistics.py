"""What BatchNorm's buffers reveal: the number of local steps and the statistics of the private batch.

A layer in training mode adds 1 to `num_batches_tracked` at every step, and moves each running statistic by
new = (1 - m) · old + m · batch, with the layer's momentum m (Ioffe and Szegedy, 2015, as torch implements it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

COUNTER, MEAN, VARIANCE = "num_batches_tracked", "running_mean", "running_var"


@dataclass(frozen=True, eq=False)
class Movement:
    """Changes of one BatchNorm layer during the local training.

    Args:
        layer: Name of the layer.
        steps: Difference of the step counters, or `None` if the counter was not sent.
        momentum: Weight m of one batch in the running statistics.
        shift: RMS change of the running mean; 0 if the statistics did not change.
        mean: `[C]`, mean of the batch; exact for one step, else a mean over the steps that weights the last ones most.
        variance: `[C]`, unbiased variance, likewise.
    """

    layer: str
    steps: int | None
    momentum: float
    shift: float
    mean: Tensor | None
    variance: Tensor | None


def movements(model: nn.Module, after: Mapping[str, Tensor]) -> tuple[Movement, ...]:
    """Return one entry per BatchNorm layer of which some buffer was sent.

    Args:
        model: The model, with the buffers from before the local training.
        after: Name -> buffer after the local training.
    """
    found = []
    for name, layer in model.named_modules():
        if not isinstance(layer, _BatchNorm) or layer.running_mean is None:
            continue
        new = {part: after.get(f"{name}.{part}" if name else part) for part in (COUNTER, MEAN, VARIANCE)}
        if any(value is not None for value in new.values()):
            found.append(_movement(name, layer, new))
    return tuple(found)


def agreed_steps(found: tuple[Movement, ...]) -> int | None:
    """Return the number of local steps if all counters agree, or `None` if they differ or none was sent."""
    steps = {entry.steps for entry in found if entry.steps is not None}
    return steps.pop() if len(steps) == 1 else None


def batch_statistics(found: tuple[Movement, ...], positions: Mapping[str, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return layer -> (mean, biased variance) of its input after exactly one local step; otherwise an empty mapping.

    Args:
        found: The result of `movements`.
        positions: Layer -> number of values per channel, B · H · W, which converts the unbiased variance.
    """
    if agreed_steps(found) != 1:
        return {}
    return {
        entry.layer: (entry.mean, entry.variance * (1 - 1 / positions[entry.layer]))
        for entry in found
        if entry.mean is not None and entry.variance is not None and positions.get(entry.layer, 0) > 1
    }


def _movement(name: str, layer: _BatchNorm, new: Mapping[str, Tensor | None]) -> Movement:
    counter = new[COUNTER]
    steps = None
    if counter is not None and layer.num_batches_tracked is not None:
        steps = round(float(counter)) - int(layer.num_batches_tracked)
    momentum = layer.momentum
    if momentum is None:  # torch's cumulative average
        momentum = 1 / max(1, round(float(counter))) if counter is not None else 1.0
    share = 1 - (1 - momentum) ** max(1, steps or 1)
    mean, variance = (_unmixed(new[part], getattr(layer, part), share) for part in (MEAN, VARIANCE))
    shift = 0.0
    if new[MEAN] is not None:
        shift = float((new[MEAN].double() - layer.running_mean.double().cpu()).square().mean().sqrt())
    return Movement(name, steps, float(momentum), shift, mean, variance)


def _unmixed(new: Tensor | None, old: Tensor, share: float) -> Tensor | None:
    """Return (new - (1 - share) old) / share, computed in double and rounded to single precision."""
    if new is None or share <= 0:
        return None
    return ((new.double() - (1 - share) * old.detach().double().cpu()) / share).float()
