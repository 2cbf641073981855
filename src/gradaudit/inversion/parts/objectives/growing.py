"""The cosine distance over a growing set of tensors, from deep to shallow (HFGradInv; Ye et al., 2024, section 4.2)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import products

DEEPEST = 0.907  # share of the tensors at which the authors begin on ResNet-34
INTRODUCTIONS = 8  # introductions until the shallowest tensor that is used
# (first, stride, last), counted from 1, of torchvision's ResNet-18, -34 and -50 by their number of tensors.
RESIDUAL = {62: (56, 5, 19), 110: (100, 10, 25), 161: (146, 15, 37)}


@dataclass(frozen=True)
class Growing(Objective):
    """The cosine distance over the tensors that are active at this step, with a random subset of entries omitted.

    D = 1 - Σ <m_l r_l, m_l g_l> / (sqrt(Σ ||m_l r_l||²) sqrt(Σ ||m_l g_l||²)) over the active tensors l, all of weight
    1, in [0, 2]. Every mask m_l is drawn anew at every evaluation, entry by entry, and is applied to the candidate's
    update r and the observed update g alike; nothing is rescaled. A zero vector on either side yields 1.

    Tensors are counted from 1 in the order of the update. All tensors from a certain number on are active; this number
    falls from `first` by `stride` at each introduction down to `last`. On ResNet-34 it falls from 100 by 10 to 25, at
    iterations 499, 999, ..., 3 999 of 15 000 (counted from 0). The front of the network is never compared: its stem,
    its first block and the first convolution of the second one.

    *Blocks.* In residual networks, block k is `layerk` and block 0 is everything before it; in a VGG, the five groups
    of convolutions between max-pools are 1 to 5; the classifier belongs to the last. Any other network is cut by its
    number of tensors P: the first P // 5 are block 1, the rest are blocks 2 to 5 in equal shares.

    *Timetable.* That of ResNet-34 is the authors' configuration; those of ResNet-18 and -50 put its marks at the same
    layers. Any other network begins at 0.907 P like ResNet-34, but with at least two tensors. It ends with the first
    tensor of block 2 or the first one after a fifth of all, whichever is shallower, in at most eight equal
    introductions.

    The objective changes during the run. When iterates are compared, at the end of a run (`at.step == at.steps`), all
    tensors of the timetable are active and no entry is omitted, so an attack needs no other `selection`. With dropout
    no two evaluations agree, and `step="auto"` falls back to the exact route.

    Args:
        dropout: Share of the entries omitted at an evaluation, in [0, 1).
        stepwise: Whether tensors are introduced by the timetable; otherwise all tensors that it ends with are active
            from the start.
        blocks: Compare only the tensors of these blocks, introduced by the same timetable, extended or cut to end with
            their first tensor; all of them are active until the first is introduced. Empty uses the timetable's
            tensors.
        timetable: `(first, stride, last)`, counted from 1, instead of the network's own.
        every: Fraction of the stage from one introduction to the next.
    """

    varies: ClassVar[bool] = True

    dropout: float = 0.3
    stepwise: bool = True
    blocks: tuple[int, ...] = ()
    timetable: tuple[int, int, int] | None = None
    every: float = 1 / 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise AttackFailed(f"Growing: dropout must be in [0, 1). Found {self.dropout}.")
        if not self.every > 0:
            raise AttackFailed(f"Growing: every must be positive. Found {self.every}.")
        if self.timetable is not None and not (self.timetable[0] >= self.timetable[2] >= 1 <= self.timetable[1]):
            raise AttackFailed(
                f"Growing: timetable must be (first, stride, last) with first >= last >= 1 and stride >= 1. "
                f"Found {self.timetable}."
            )

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the objective for the tensors of this update. Raise `AttackFailed` if `blocks` names none of them."""
        names = list(seen.update.tensors)
        return _GrowingBound(self, block_numbers(names, seen.model), residual=any(map(STAGE.search, names)))

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return _GrowingBound(self, _equal_shares(len(candidate)), residual=False)(candidate, observed, at)


class _GrowingBound:
    """The objective of one run: the block of every tensor, and the step at which it is introduced."""

    def __init__(self, objective: Growing, blocks: Sequence[int], *, residual: bool) -> None:
        self.objective = objective
        count, chosen = len(blocks), objective.blocks
        missing = [block for block in chosen if block not in blocks]
        if missing:
            raise AttackFailed(f"{objective!r}: no block {missing[0]}. Known: {sorted(set(blocks))}.")
        own = RESIDUAL.get(count) if residual else None
        self.first, self.stride, self.last = objective.timetable or own or recipe(blocks)
        self.chosen = [number for number, block in enumerate(blocks, 1) if not chosen or block in chosen]
        if chosen:
            self.last = self.chosen[0]

    def active(self, at: Progress) -> list[int]:
        """Return the positions in the update, counted from 0, of the tensors that are active at this step."""
        start = self.last
        if self.objective.stepwise:
            passed = math.floor((at.step + 1) / (self.objective.every * at.steps) + 1e-9)
            start = max(self.first - passed * self.stride, self.last)
        found = [number - 1 for number in self.chosen if number >= start]
        return found or [number - 1 for number in self.chosen]

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        keep = self.active(at)
        ours, theirs = [candidate[i] for i in keep], [observed[i].detach() for i in keep]
        dropout = self.objective.dropout if at.step < at.steps else 0.0
        return _MaskedCosine.apply(dropout, theirs, *ours)


class _MaskedCosine(torch.autograd.Function):
    """1 - cosine of two masked lists with its gradient in closed form; no graph and no second set of masks is kept."""

    @staticmethod
    def forward(ctx: Any, dropout: float, observed: Sequence[Tensor], *candidate: Tensor) -> Tensor:
        if dropout > 0:
            masks = [torch.rand_like(tensor).lt_(1 - dropout) for tensor in candidate]
            observed = [tensor * mask for tensor, mask in zip(observed, masks, strict=True)]
            candidate = tuple(mask.mul_(tensor) for tensor, mask in zip(candidate, masks, strict=True))
        inner, squares = (sums.sum() for sums in products(candidate, observed))
        tiny = torch.finfo(squares.dtype).tiny
        squares, theirs = squares.clamp_min(tiny), products(observed, observed)[1].sum().clamp_min(tiny)
        lengths = squares.sqrt() * theirs.sqrt()
        ctx.save_for_backward(inner / lengths / squares, -1 / lengths, *candidate, *observed)
        return 1 - inner / lengths

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        on_candidate, on_observed, *tensors = ctx.saved_tensors
        half = len(tensors) // 2
        pairs = zip(tensors[:half], tensors[half:], strict=True)
        return (None, None, *(c * (slope * on_candidate) + o * (slope * on_observed) for c, o in pairs))


STAGE = re.compile(r"(?:^|\.)layer(\d+)\.")


def block_numbers(names: Sequence[str], model: nn.Module) -> list[int]:
    """Return the block of every tensor of an update, by the rules that `Growing` states.

    Args:
        names: Names of the tensors, in the model's order.
        model: The model; in a VGG, its max-pools separate the blocks.
    """
    if any(map(STAGE.search, names)):
        return _as_read([int(found[1]) if (found := STAGE.search(name)) else None for name in names])
    features = getattr(model, "features", None)
    pools = _pools(features) if isinstance(features, nn.Sequential) else []
    if len(pools) == 5:
        layers = [re.match(r"features\.(\d+)\.", name) for name in names]
        return _as_read([1 + sum(pool < int(layer[1]) for pool in pools) if layer else None for layer in layers])
    return _equal_shares(len(names))


def _pools(features: nn.Sequential) -> list[int]:
    return [index for index, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]


def _as_read(blocks: list[int | None]) -> list[int]:
    """Fill in missing blocks: tensors before any block are in block 0, tensors after one belong to it."""
    found, last = [], 0
    for block in blocks:
        last = last if block is None else block
        found.append(last)
    return found


def _equal_shares(count: int) -> list[int]:
    front = count // 5
    return [1 if i < front else 2 + 4 * (i - front) // (count - front) for i in range(count)]


def recipe(blocks: Sequence[int]) -> tuple[int, int, int]:
    """Return `(first, stride, last)` of a network that has no timetable of its own, from the blocks of its tensors."""
    count = len(blocks)
    last = min(next((number for number, block in enumerate(blocks, 1) if block >= 2), 1), count // 5 + 1)
    first = max(min(round(DEEPEST * count), count - 1), last)
    return first, max(1, math.ceil((first - last) / INTRODUCTIONS)), last
