"""How smooth the map from inputs to an update is around a batch: IGSA, and its form relative to the update.

Du et al. (2024, arXiv:2404.05403, section 5.1.1) call a client the easier to invert, the less its gradient changes with
its inputs. With J_l(x) = ∂update_l/∂x for layer l of L,

    IGSA(x) = [ mean over j of Σ_l w_l ‖J_l(x_j)‖_F / Σ_l w_l ]⁻¹,    w_l = L - l + 1,

where x_j lies at distance r from x in a random direction. The weights favour shallow layers. The paper states neither
the norm, the weights, the number of points nor r: those here are a reading. The raw value scales with one over the size
of the update, which `relative` removes by dividing ‖J_l‖_F by ‖update_l‖. A larger value is a smoother map.

‖J_l‖_F² is the expectation of ‖J_l u‖² over random signs u (Hutchinson, 1990): one product with J gives every layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..values.errors import AuditError
from .linearisation import Linearised


@dataclass(frozen=True)
class SmoothnessEffort:
    """How IGSA is estimated.

    Args:
        points: n, the number of points around the batch, at least 1.
        radius: r, their distance from each example in its own units, at least 0.
        probes: Random sign vectors for each point, at least 1; 16 give a norm to about 25 %.
    """

    points: int = 10
    radius: float = 0.05
    probes: int = 16


@dataclass(frozen=True)
class GradientSmoothness:
    """IGSA of one batch.

    Args:
        raw: As defined, infinite for an update that does not depend on its inputs.
        relative: With every ‖J_l‖_F divided by ‖update_l‖; layers whose update is zero do not count.
    """

    raw: float
    relative: float


def gradient_smoothness(
    update: Callable[[Tensor], Tensor],
    inputs: Tensor,
    layers: Sequence[int],
    effort: SmoothnessEffort | None = None,
    seed: int = 0,
) -> GradientSmoothness:
    """Return IGSA at a batch.

    Args:
        update: A function of the inputs, differentiable twice, that returns a flat tensor `[m]`.
        inputs: The batch, `[B, ...]`.
        layers: Number of entries of each layer of the update, the shallowest first.
        effort: How it is estimated.
        seed: Seed of points and probes.

    Raises:
        AuditError: The effort is out of range, or the layers do not add up to the update.

    >>> found = gradient_smoothness(lambda x: torch.cat([2 * x[0], x[0]]), torch.ones(1, 4), [4, 4])
    >>> round(1 / found.raw, 6), round(1 / found.relative, 2)  # (2 * 4 + 1 * 2) / 3, and about 1 for each layer
    (3.333333, 1.0)
    """
    how = effort or SmoothnessEffort()
    if how.points < 1 or how.probes < 1 or not 0 <= how.radius < math.inf:
        raise AuditError(f"smoothness: needs points and probes of at least 1 and a radius of at least 0. Found {how}.")
    generator = torch.Generator().manual_seed(seed)
    sums = [0.0, 0.0]
    for _ in range(how.points):
        line = Linearised(update, inputs + how.radius * _directions(inputs, generator))
        if sum(layers) != line.sizes[0]:
            raise AuditError(f"smoothness: layers of {sum(layers)} entries in all, for an update of {line.sizes[0]}.")
        norms = layer_norms(line, layers, how.probes, generator)
        sizes = torch.stack([part.norm() for part in line.value.split(list(layers))]).double().cpu()
        weights = torch.arange(len(layers), 0, -1, dtype=torch.float64)
        alive = weights * (sizes > 0)
        sums[0] += float((weights * norms).sum() / weights.sum())
        if alive.any():
            sums[1] += float((alive * norms / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)).sum() / alive.sum())
    raw, relative = (how.points / total if total > 0 else math.inf for total in sums)
    return GradientSmoothness(raw, relative)


def layer_norms(line: Linearised, layers: Sequence[int], probes: int, generator: torch.Generator) -> Tensor:
    """Return an estimate of ‖J_l‖_F for every layer, `[L]` in double precision.

    Args:
        line: The linearised update.
        layers: Number of entries of each layer.
        probes: Number of products with random signs.
        generator: Source of the signs.
    """
    d, squares = line.sizes[1], torch.zeros(len(layers), dtype=torch.float64)
    for _ in range(probes):
        signs = torch.randint(0, 2, (1, d), generator=generator).to(line.value) * 2 - 1
        image = line.push(signs)[0].double().square()
        squares += torch.stack([part.sum() for part in image.split(list(layers))]).cpu()
    return (squares / probes).sqrt()


def _directions(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random unit vector for each example, in the shape of the batch."""
    drawn = torch.randn(len(inputs), inputs[0].numel(), generator=generator, dtype=torch.float64)
    return (drawn / drawn.norm(dim=1, keepdim=True)).view_as(inputs).to(inputs)
