"""The batch that sparse columns of ∂L/∂Z determine (SPEAR): examples, labels, and the test that they are the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..inversion.network.first_linear import FirstLinear
from ..inversion.network.sparse_columns import Hyperplanes
from ..inversion.parts.labels._head import local_steps
from ..inversion.step.matching import Matching
from ..protocol.local_training import rules_of
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Reconstruction
from ._certificate import explains_at_some_rate

ALIKE = 0.98  # least agreement of the zeros of every example in a verified result of one step
OWN = 1e-2  # largest relative distance of a column from the model's own in a verified result of one step
WHOLE = 0.2  # largest distance from a whole number of how often an example occurs
SURE = 1e-2  # largest standard deviation of a normalised input, by the noise of the update, in a verified result


@dataclass(frozen=True)
class SparseBatch:
    """Examples and columns that follow from a complete set of normals.

    Args:
        inputs: X, `[r, n]`.
        columns: (∂L/∂Z)ᵀ, `[m, r]`.
        gradients: The gradients of weight and bias that were observed, without what lies beyond the rank.
        agreement: Smallest share of units, over the examples, on which the zeros of a column are those of the model.
        error: Standard deviation of an entry of X by the noise beyond the rank, the largest over the examples.
        notes: Sentences about the search.
    """

    inputs: Tensor
    columns: Tensor
    gradients: tuple[Tensor, Tensor]
    agreement: float
    error: float
    notes: tuple[str, ...] = ()

    @staticmethod
    def solved(seen: Observation, first: FirstLinear, planes: Hyperplanes, found: tuple[Tensor, Tensor]) -> SparseBatch:
        """Return the examples of a complete set of normals: lengths by the bias gradient, then X = Q⁻¹ S Vᵀ."""
        of, bias = planes.of, found[1]
        sparse = of.columns(planes.basis).T
        lengths = torch.linalg.lstsq(sparse, bias.unsqueeze(1)).solution.squeeze(1)
        columns = sparse * lengths
        scaled, target = planes.basis.T * lengths, of.values.unsqueeze(1) * of.right
        inputs = torch.linalg.lstsq(scaled, target).solution
        notes = (
            f"The gradient has rank {of.rank}, with a gap of {of.gap:.1g} behind it; {planes.starts} starts found all "
            "its sparse columns.",
        )
        if not (inputs.isfinite().all() and columns.any(0).all()):
            return SparseBatch(inputs, columns, found, 0.0, float("inf"), notes)
        zero = torch.stack([of.zero(normal) for normal in planes.basis])
        agreement = (first.active(inputs.unflatten(1, seen.input_shape)) != zero).double().mean(1).min()
        error = of.noise.square().mean().sqrt() * torch.linalg.pinv(columns).norm(dim=1).max()
        return SparseBatch(inputs, columns, (of.left @ target, bias), float(agreement), float(error), notes)

    @property
    def gap(self) -> float:
        """The relative distance of (∂L/∂Z)ᵀ [X, 1] from the gradients of weight and bias."""
        weight, bias = self.gradients
        gap = (self.columns @ self.inputs - weight).square().sum() + (self.columns.sum(1) - bias).square().sum()
        return float((gap / (weight.square().sum() + bias.square().sum())).sqrt())


@dataclass(frozen=True)
class _Labelled:
    """The batch in its order: which examples `[B]` with which labels, and whether their own gradients say so."""

    order: Tensor
    labels: Tensor | None
    own: bool
    notes: tuple[str, ...] = ()


def certified(seen: Observation, first: FirstLinear, batch: SparseBatch) -> Reconstruction:
    """Return the examples with labels, `verified` if the zeros, each column and the update are the model's own."""
    labelled = _labelled(seen, first, batch)
    inputs = batch.inputs[labelled.order].unflatten(1, seen.input_shape).to(seen.update.values[0])
    labels = None if labelled.labels is None else labelled.labels.to(seen.device)
    doubt = _doubt(seen, batch, labelled, inputs)
    return Reconstruction(
        inputs=seen.normalisation.invert(inputs),
        labels=labels,
        objective=batch.gap,
        verified=not doubt,
        labels_granted=seen.labels is not None,
        trace=(((1, batch.gap),),),
        notes=(*batch.notes, *labelled.notes, *([f"Not verified: {doubt}."] if doubt else [])),
    )


def _doubt(seen: Observation, batch: SparseBatch, labelled: _Labelled, inputs: Tensor) -> str:
    """Return why the result may not be the batch, or an empty string if it is certain."""
    if labelled.labels is None:
        return "the loss has no classes and the labels were not granted"
    if batch.error > SURE:
        return f"noise on the update makes the inputs uncertain by {batch.error:.1g} (normalised)"
    if _steps(seen) == 1 and batch.agreement < ALIKE:
        return f"the zeros of the worst example agree with the model's on {batch.agreement:.0%} of the units only"
    if not labelled.own:
        return "an example's own gradient behind the first layer is not the one found, for any label"
    if not _explains(seen, inputs, labelled.labels.to(seen.device)):
        return "the update recomputed from the result is not the observed one (noise, a defense or unknown training)"
    return ""


def _labelled(seen: Observation, first: FirstLinear, batch: SparseBatch) -> _Labelled:
    """Return the labels whose own ∂L/∂Z has the direction of each column, and how often each example occurs."""
    rank = len(batch.inputs)
    size = rank if seen.batch_size is None else seen.batch_size
    targets = _targets(seen, first, batch.inputs)
    if targets is None:
        return _Labelled(torch.arange(size) % rank, None, False)
    slopes = torch.stack([_slopes(seen, first, batch.inputs, target) for target in targets])  # [T, r, m]
    columns, squared = batch.columns.T, slopes.square().sum(2).clamp_min(1e-300)
    lengths = (slopes * columns).sum(2) / squared
    distances = ((columns - lengths.unsqueeze(2) * slopes).norm(dim=2) / columns.norm(dim=1)).where(lengths > 0, 1)
    best, at = distances.min(0)
    times = lengths.gather(0, at.unsqueeze(0))[0]
    times = times / times.sum() * size
    whole = times.round().long()
    counted = bool((whole >= 1).all()) and int(whole.sum()) == size
    order = torch.arange(rank).repeat_interleave(whole) if counted else torch.arange(size) % rank
    own = counted and (_steps(seen) > 1 or (bool(best.max() <= OWN) and bool(((times - whole).abs() <= WHOLE).all())))
    notes = () if size == rank else (_repeated(size, rank, counted),)
    if seen.labels is None:
        return _Labelled(order, targets[at[order]], own, notes)
    places = (targets == seen.labels.cpu().unsqueeze(1)).flatten(2 if targets.ndim > 1 else 1)
    kinds = places.all(2).long().argmax(1) if targets.ndim > 1 else places.long().argmax(1)
    rows = linear_sum_assignment(distances[kinds][:, order].numpy())[1]
    return _Labelled(order[torch.from_numpy(rows)], seen.labels, own, notes)


def _repeated(size: int, rank: int, counted: bool) -> str:
    known = "as often as their gradients say" if counted else "in their place"
    return (
        f"The rank {rank} is below the batch size {size}: some examples are equal, or add no more than rounding or "
        f"noise to the gradient. The examples found are repeated {known}."
    )


def _targets(seen: Observation, first: FirstLinear, inputs: Tensor) -> Tensor | None:
    """Return the labels that an example may have: those granted, or all classes; `None` if there are none."""
    if seen.labels is not None:
        return seen.labels.cpu().unique(dim=0)
    with torch.no_grad():
        classes = rules_of(seen.loss).count(first.model(inputs[:1].unflatten(1, seen.input_shape)))
    return torch.arange(classes) if classes else None


def _slopes(seen: Observation, first: FirstLinear, inputs: Tensor, target: Tensor) -> Tensor:
    """Return ∂L/∂Z of each example on its own with one label, `[r, m]`."""
    labels = target.expand(len(inputs), *target.shape)
    shaped = inputs.unflatten(1, seen.input_shape)
    return first.slopes(shaped, lambda output: seen.loss(output, labels)) * len(inputs)


def _steps(seen: Observation) -> int:
    try:
        return local_steps(seen)
    except AttackFailed:  # it follows from a batch size that is unknown
        return 2


@torch.no_grad()
def _explains(seen: Observation, inputs: Tensor, labels: Tensor) -> bool:
    """Return whether the recomputed update, under known defenses and up to an unknown rate, equals the observed one."""
    update, observed = Matching(seen, lambda ours, theirs, at: ours[0].new_zeros(())).updates(inputs, labels)
    return explains_at_some_rate(seen, update, observed)
