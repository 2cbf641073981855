"""Linear layers: the rank of their gradients, and inputs that can be read off exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..inversion.parts.labels._search import search
from ..models.copying import private_copy
from ..protocol.local_training import batch_norm_mode
from ..protocol.observation import Observation
from ..values.types import UpdateKind
from .facts import LayerFacts

EXACT = 512  # smaller side up to which singular values are computed on the whole matrix
ROWS = 256  # rows that are compared with each other
SINGLE = torch.finfo(torch.float32).eps
DIRECTIONS = 64  # random directions along which rows are compared
SAME = 3e-5  # distance of two equal rows, relative to their norm
APART = 1e-3  # and relative to the median distance of all rows
AROUND, CROWD = 8.0, 1.5  # equal rows are isolated: within 8 times the distance there are at most 1.5 times as many
BLURRED = 2e-2  # the same if the values were rounded
SLURRED = 0.05  # rounding error of a row, relative to its norm, from which the row is ignored
CLEAR = 30.0  # drop of the singular values at a rank that rounding does not explain
ALIVE = 1e-4  # smallest bias gradient that is used as a divisor, as a share of the largest


class Linear(NamedTuple):
    """A linear layer, and what it takes as input."""

    name: str
    layer: nn.Linear
    takes_example: bool
    per_example: bool


def linear_layers(seen: Observation) -> list[Linear]:
    """Return the linear layers of the model in the order in which they run. A private copy of the model is run."""
    model = private_copy(seen.model)
    generator = torch.Generator().manual_seed(0)
    like = next(model.parameters())
    x = torch.rand(2, *seen.input_shape, generator=generator).to(like)
    found: dict[str, Linear] = {}

    def watch(name: str, layer: nn.Linear, inputs: Tensor) -> None:
        flat = inputs.reshape(len(inputs), -1) if inputs.ndim else inputs
        takes = flat.shape == (2, x[0].numel()) and torch.equal(flat, x.flatten(1))
        found.setdefault(name, Linear(name, layer, takes, inputs.ndim == 2 and len(inputs) == 2))

    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda module, args, name=name: watch(name, module, args[0]))
    with torch.no_grad(), batch_norm_mode(model, "eval"):
        model(x.clone())  # the model may work in place
    return list(found.values())


def layer_facts(seen: Observation, precision: float = SINGLE, one_step: bool = True) -> tuple[LayerFacts, ...]:
    """Return one entry per linear layer whose weight was sent, in the order in which they run.

    Args:
        seen: The observation.
        precision: Relative spacing of the floating-point numbers of the update.
        one_step: Whether the client took one step. After several, only the inputs of the first layer stay the same.
    """
    facts, head = [], search(seen).weight
    for entry in linear_layers(seen):
        weight, bias = _gradients(entry.name, seen.update.tensors)
        if weight is None:
            continue
        outputs, inputs = weight.shape
        last = head is not None and seen.update.tensors.get(head) is weight
        limit = min(outputs - 1 if last else outputs, inputs)
        rounding = resolution(seen, entry.layer.weight)
        rank, clear = numerical_rank(weight, rounding, precision)
        recovered = None
        if bias is not None and entry.per_example and (one_step or entry.takes_example):
            recovered = exact_inputs(weight, bias, rounding, precision)
        facts.append(
            LayerFacts(
                entry.name,
                (outputs, inputs),
                bias is not None,
                entry.takes_example,
                min(rank, limit),
                limit,
                clear or rank >= limit,
                entry.per_example,
                0 if recovered is None else len(recovered),
                recovered,
            )
        )
    return tuple(facts)


def resolution(seen: Observation, weight: Tensor) -> float:
    """Return the rounding error of one entry: 0 for a gradient, and that of the weights for a weight difference."""
    if seen.update.kind is UpdateKind.GRADIENT or not weight.numel():
        return 0.0
    return torch.finfo(weight.dtype).eps * float(weight.detach().abs().max())


def numerical_rank(matrix: Tensor, rounding: float = 0.0, precision: float = SINGLE) -> tuple[int, bool]:
    """Return the number of singular values of `matrix` above rounding, at most 512, and whether the drop is clear.

    If both sides exceed 512, the rank of a random sketch is used (Halko et al., 2011, section 4.1).

    Args:
        matrix: `[n, m]`, finite.
        rounding: Absolute rounding error of one entry.
        precision: Relative rounding error of one entry.
    """
    sketch = matrix
    if min(matrix.shape) > EXACT:
        generator = torch.Generator().manual_seed(0)
        sketch = matrix @ torch.randn(matrix.shape[1], EXACT, generator=generator).to(matrix) / EXACT**0.5
    singular = torch.linalg.svdvals(sketch.double())
    if not len(singular) or singular[0] == 0:
        return 0, False
    noise = rounding * (sketch.shape[0] ** 0.5 + sketch.shape[1] ** 0.5)
    floor = float(singular[0]) * max(sketch.shape) * precision
    rank = max(1, int((singular > max(floor, noise)).sum()))
    return rank, rank < len(singular) and float(singular[rank - 1]) > CLEAR * float(singular[rank])


def exact_inputs(weight: Tensor, bias: Tensor, rounding: float = 0.0, precision: float = SINGLE) -> Tensor:
    """Return the inputs of a linear layer that can be read off its gradient exactly.

    The ratio ∂W_k / ∂b_k of weight to bias gradient is a weighted mean of the layer's inputs, with weights given by
    their contribution to unit k. It is a single input if only one example activates the unit (Phong et al., 2018;
    Geiping et al., 2020, proposition 3.1). Mixtures differ from unit to unit, so a ratio that two units share is an
    input. If all rows agree, there is one example.

    Args:
        weight: Gradient of the weight, `[n, m]`.
        bias: Gradient of the bias, `[n]`.
        rounding: Absolute rounding error of one entry.
        precision: Relative rounding error of one entry.

    Returns:
        `[r, m]` in double precision: the inputs found, most frequent first.
    """
    alive = (bias.abs() > ALIVE * bias.abs().max()).nonzero().view(-1)
    alive = alive[bias[alive].abs().argsort(descending=True)[:ROWS]]
    if len(alive) < 2:
        return weight.new_zeros(0, weight.shape[1], dtype=torch.float64)
    ratios = weight[alive].double() / bias[alive].double().unsqueeze(1)
    points = _projected(ratios)
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    near = _near(ratios, bias[alive].double().abs(), apart, rounding, precision)
    if (apart <= 2 * near).all():
        return ratios[:1]  # the row with the largest bias gradient has the smallest rounding error
    same, around = apart <= near, apart <= AROUND * near
    least = _fewest(points, rounding > 0 or precision > SINGLE)
    found, free = [], torch.ones(len(alive), dtype=torch.bool)
    for row in same.sum(1).argsort(descending=True, stable=True).tolist():
        members = (same[row] & free).nonzero().view(-1)
        crowd = int((around[row] & free).sum())
        if free[row] and len(members) >= least and crowd <= CROWD * len(members):
            found.append(ratios[members].mean(0))
            free &= ~around[row]
    return torch.stack(found) if found else ratios[:0]


def _fewest(points: Tensor, blurred: bool) -> int:
    """Return how many rows must agree to exclude chance: mixtures of few inputs lie on a line or in a plane."""
    dimensions = int((torch.linalg.svdvals(points - points.mean(0)) > SLURRED**2 * points.norm()).sum())
    return {1: 4, 2: 3}.get(dimensions, 2) * (2 if blurred else 1)


def _projected(rows: Tensor) -> Tensor:
    """Project `[r, m]` to `[r, 64]`; distances change by a few percent (Johnson and Lindenstrauss)."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(rows.shape[1], DIRECTIONS, generator=generator, dtype=torch.float64)
    return rows @ directions / DIRECTIONS**0.5


def _near(ratios: Tensor, bias: Tensor, apart: Tensor, rounding: float, precision: float) -> Tensor:
    """Return `[r, r]`, the distance up to which two rows count as equal: rounding, but far below typical distances."""
    length = ratios.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    blur = rounding / bias * (ratios.shape[1] ** 0.5 + length)  # of the row and of its divisor
    near = max(SAME, 4 * precision) * length + 3 * blur
    near = torch.where(near < SLURRED * length, near, 0)
    near = torch.maximum(near.unsqueeze(0), near.unsqueeze(1))
    if (apart <= near).all():
        return near
    others = apart[torch.ones_like(apart, dtype=torch.bool).triu(1)]
    return near.clamp_max(float(others.median()) * (APART if rounding == 0 and precision <= SINGLE else BLURRED))


def _gradients(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    prefix = f"{name}." if name else ""
    return tensors.get(f"{prefix}weight"), tensors.get(f"{prefix}bias")
