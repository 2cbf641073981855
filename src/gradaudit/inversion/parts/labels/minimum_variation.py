"""HFGradInv's label inference: counts from the features of public images that vary least (Ye et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import counted, round_to_total
from ._head import double_head
from ._probe import ask, require_nonnegative_features


@dataclass(frozen=True)
class MinimumVariation(LabelInference):
    """Counts from the ranks at which sorted features vary least, found by an evolutionary algorithm.

    Ye et al., "High-fidelity gradient inversion in distributed learning", AAAI 2024, stage I. The features of each
    public image are sorted; μ_t is their mean at the ranks t with the least coefficient of variation, std / mean. At
    these ranks the rows of the gradient are multiples of μ_t. Present classes k have a negative row sum;
    sort(|∂L/∂W_k|)_t ≈ (v_k / B) μ_t yields their counts v by the largest cosine.

    Deviations from the authors' code: counts stay at 1 or more and sum to B by largest remainders; if more rows look
    present than the batch size, the most negative ones stay; a single class gets the whole batch; if nothing is left to
    mutate, there is no mutation. Missing labels are not replaced by random classes.

    Args:
        pictures: Largest number of public images.
        ranks: Number of feature ranks with the least variation.
        population: Number of candidates of the evolution.
        generations: Number of generations of the evolution.
    """

    name: ClassVar[str] = "hfgradinv"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA
    pictures: int = 40
    ranks: int = 20
    population: int = 20
    generations: int = 200

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B."""
        size = require_batch_size(seen, self)
        classes, shares = class_shares(seen, size, self.pictures, self.ranks)
        if len(classes) == size or len(classes) < 2:
            found = round_to_total(shares, size, least=1)
        else:
            found = evolve(shares, size, self.population, self.generations)
        return _labels(seen, classes, found, shares)


@dataclass(frozen=True)
class MinimumVariationDirect(LabelInference):
    """The counts of `MinimumVariation` in closed form, without the evolutionary algorithm.

    After Ye et al., AAAI 2024. The cosine is largest at v ∝ ⟨S_k, μ_t⟩, rounded by largest remainders. Before rounding
    the matching has this solution in closed form, so no search is needed.

    Args:
        pictures: Largest number of public images.
        ranks: Number of feature ranks with the least variation.
    """

    name: ClassVar[str] = "hfgradinv-direct"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA
    pictures: int = 40
    ranks: int = 20

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B."""
        size = require_batch_size(seen, self)
        classes, shares = class_shares(seen, size, self.pictures, self.ranks)
        return _labels(seen, classes, round_to_total(shares, size, least=1), shares)


def steadiest(features: Tensor, ranks: int) -> tuple[Tensor, Tensor]:
    """Return the ranks of least variation among sorted features `[A, m]`, and the features' means there, each `[t]`.

    Variation is the coefficient of variation. Raise `AttackFailed` if there are fewer than two images, or if all
    features are zero.
    """
    if len(features) < 2:
        raise AttackFailed("the variation of features needs at least two public images (the paper uses 40).")
    ordered = features.sort(dim=1).values
    mean = ordered.mean(0)
    alive = mean > 0
    if not alive.any():
        raise AttackFailed("the features of the public images are all zero: all units are inactive.")
    variation = torch.where(alive, ordered.std(0) / mean.clamp_min(torch.finfo(mean.dtype).tiny), torch.inf)
    positions = variation.argsort()[: min(ranks, int(alive.sum()))]
    return positions, mean[positions]


def class_shares(seen: Observation, size: int, pictures: int, ranks: int) -> tuple[Tensor, Tensor]:
    """Return the classes that look present `[k]`, k ≤ B, and their weights `[k]`, which sum to B."""
    weight = double_head(seen).weight
    require_nonnegative_features(seen)
    positions, means = steadiest(ask(seen, "public", pictures).features, ranks)
    sums = weight.sum(1)
    classes = sums.argsort()[:size]
    classes = classes[sums[classes] < 0].sort().values
    target = weight[classes].abs().sort(dim=1).values[:, positions]
    shares = target @ means
    if not len(classes) or not shares.sum() > 0:
        raise AttackFailed("no row sum of the last layer's gradient is negative, so no class looks present.")
    return classes, shares * size / shares.sum()


def evolve(shares: Tensor, size: int, population: int, generations: int) -> Tensor:
    """Return counts `[k]` of at least 1 that sum to `size`, the best by their cosine with `shares` `[k]`.

    They are the best that the evolution finds. The cosine of ⟨v_k μ_t⟩ with S over all classes and positions is that of
    v with the shares, up to a constant. This needs 2 ≤ k < `size`.
    """
    classes = len(shares)

    def fitness(counts: Tensor) -> Tensor:
        return (counts.double() @ shares) / counts.double().norm(dim=1)

    parents = _rescale(torch.randint(1, size - classes + 2, (population, classes)), size)
    for _ in range(generations):
        partners = parents[torch.randperm(population)]
        children = _rescale(torch.where(torch.rand(population, classes) < 0.5, parents, partners), size)
        children = _mutate(children)
        better = fitness(children) > fitness(parents)
        parents = torch.where(better.unsqueeze(1), children, parents)
    return parents[fitness(parents).argmax()]


def _rescale(counts: Tensor, size: int) -> Tensor:
    spare = (counts - 1).double() + 1e-9  # rows of ones share evenly
    share = spare / spare.sum(1, keepdim=True) * (size - counts.shape[1])
    return round_to_total(share + 1, size, least=1)


def _mutate(counts: Tensor) -> Tensor:
    """Move one unit of each row from a random entry above 1 to another random entry."""
    rows = torch.arange(len(counts))
    giver = torch.where(counts > 1, torch.rand(counts.shape), -1.0).argmax(1)
    chance = torch.rand(counts.shape)
    chance[rows, giver] = -1.0
    moved = counts.clone()
    moved[rows, giver] -= 1
    moved[rows, chance.argmax(1)] += 1
    return moved


def _labels(seen: Observation, classes: Tensor, found: Tensor, shares: Tensor) -> Labels:
    empty = torch.zeros(seen.classes, dtype=torch.float64)
    counts = empty.long().index_copy(0, classes, found)
    return counted(seen, counts, empty.index_copy(0, classes, shares))
