"""SPEAR (Dimitrov, Baader, Müller & Vechev, NeurIPS 2024): exact batches from the sparse gradient behind a ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..inversion.attack import TimeLimit, Watch
from ..inversion.network.input_layer import InputLayer
from ..inversion.network.sparse_columns import Factors, Hyperplanes, factors
from ..inversion.run.refusal import attacked, require_fit
from ..inversion.step.matching import Matching
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Reconstruction
from ._demonstration import Demonstration

SPARSE = 0.05  # least share of exact zeros in ∂L/∂Z, on random inputs, for which the method is made
REFINEMENTS = 8  # alternating least squares of examples and columns with the zeros fixed
PATIENCE = 4  # rounds of starts between two tests of a complete set that failed
ROUNDING = 1e-3  # relative distance of the layer's recomputed gradient above which a note names noise


@dataclass(frozen=True)
class Spear:
    """All examples of a batch from the gradient of a first linear layer followed by a ReLU (theorems 3.1 to 3.4).

    For Z = X Wᵀ + b the gradient is ∂L/∂W = (∂L/∂Z)ᵀ X, of rank B. With its singular value decomposition U S Vᵀ there
    is a unique invertible Q with

        (∂L/∂Z)ᵀ = U Q,    X = Q⁻¹ S Vᵀ.

    A ReLU that is off makes an entry of ∂L/∂Z zero, so U q is sparse for every column q of Q, and for hardly any other
    vector. `Hyperplanes` finds these q up to their lengths, which follow from ∂L/∂b = (∂L/∂Z)ᵀ 1 by least squares. The
    result counts as found if the zeros of the columns are those of the model on the examples themselves (the paper's
    consistency score). The label of an example is the class whose own ∂L/∂Z has the direction of its column.

    Several local steps on one batch multiply the same X, so weight differences are inverted alike, as long as each
    example leaves enough units off in all steps. Tolerances follow from the singular values beyond the rank: rounding
    or noise. The layer may be followed by anything that makes entries of ∂L/∂Z exactly zero; this is tested on random
    inputs. The rank says how many examples there are; examples without a loss, or two equal ones, add nothing to it.

    Args:
        name: Name in the literature.
        paper: arXiv id.
        starts: Largest number of starts of the search.
        together: Number of starts that are computed at once.
        clear: Smallest ratio of two neighbouring singular values that separates the batch from noise.
        agreement: Smallest share of units, for every example, on which the zeros of its column and those of the model
            agree. Two examples mixed agree on about three quarters.
        deviations: Differences from the paper.
    """

    name: str = "spear"
    paper: str = "arXiv:2403.03945"
    starts: int = 4_096
    together: int = 16
    clear: float = 3.0
    agreement: float = 0.9
    deviations: tuple[str, ...] = (
        "normals are found by reweighted least squares from random starts; the paper draws B - 1 rows, whose chance "
        "halves with every further example",
        "the zeros are those of the model's own gradient, so that any layer may follow that yields zeros",
        "tolerances follow from the singular values beyond the rank; the paper has fixed ones",
        "with the zeros fixed, examples and columns are refined by alternating least squares",
    )
    needs: ClassVar[Knowledge] = Knowledge.NOTHING

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the examples, in no meaningful order.

        Args:
            seen: What the adversary sees.
            seed: Seed of the starts.
            watch: Called after every round of starts; a `TimeLimit` ends the search.
            keep: Not used.

        Raises:
            AttackFailed: The model has no suitable first layer, its gradient has no gap at a rank below its size, or
                the search ended before all columns were found.
        """
        require_fit(self, seen.knowledge, seen.modality)
        seen = attacked(self.name, seen)
        first = InputLayer(seen, self.name, seed)
        self._require_zeros(first)
        try:
            of = factors(first.weight, seen.batch_size, first.precision, self.clear)
        except AttackFailed as error:
            raise AttackFailed(f"{self.name}: {error}") from None
        planes = Hyperplanes(of, torch.Generator().manual_seed(seed), self.together)
        solved = self._search(first, planes, watch)
        labels = first.labels(solved.inputs, solved.columns)
        return _result(first, planes, solved, labels)

    def _require_zeros(self, first: InputLayer) -> None:
        share = float((first.slopes(first.probes) == 0).double().mean())
        if share < SPARSE:
            raise AttackFailed(
                f"{self.name}: the gradient behind the first linear layer has no zeros on random inputs: no ReLU "
                "follows it. A sigmoid, tanh or GELU has none. Choose an attack by gradient "
                "matching."
            )

    def _search(self, first: InputLayer, planes: Hyperplanes, watch: Watch | None) -> _Solved:
        """Search until the columns agree with the model; raise `AttackFailed` if the time or the starts are spent."""
        rank, agreement, waited = planes.of.rank, 0.0, PATIENCE
        while planes.starts < self.starts and not (isinstance(watch, TimeLimit) and watch.spent):
            known = planes.basis
            planes.search()
            if watch is not None:
                watch(len(planes.basis), rank, 1 - agreement)
            waited = PATIENCE if len(known) < rank else waited + 1
            if len(planes.basis) == rank and waited >= PATIENCE:
                waited = 0
                solved = _solved(first, planes)
                agreement = max(agreement, solved.agreement)
                if solved.agreement >= self.agreement:
                    return _refined(first, planes.of, solved)
        if len(planes.basis) < rank:
            state = f"found {len(planes.basis)} of {rank} sparse columns in {planes.starts} starts"
        else:
            state = (
                f"found {rank} sparse columns in {planes.starts} starts, but the zeros of the worst agree with the "
                f"model's own on {agreement:.0%} of the units only"
            )
        raise AttackFailed(
            f"{self.name}: {state}: too many examples for the {first.size[0]} units of the layer, too few units that "
            "are off, noise, or too little time."
        )


class _Solved(NamedTuple):
    """Examples and columns of one set of normals.

    Args:
        inputs: X, `[r, n]`.
        columns: (∂L/∂Z)ᵀ, `[m, r]`.
        agreement: Smallest share of units, over the examples, on which both agree which entries are zero.
        gap: Relative distance of (∂L/∂Z)ᵀ [X, 1] from the gradients of weight and bias.
    """

    inputs: Tensor
    columns: Tensor
    agreement: float
    gap: float


def _result(first: InputLayer, planes: Hyperplanes, solved: _Solved, labels: Tensor | None) -> Reconstruction:
    seen, of = first.seen, planes.of
    notes = [
        f"The gradient has rank {of.rank}, with a gap of {of.gap:.1g} behind it; {planes.starts} starts found all "
        "its sparse columns."
    ]
    inputs = first.pictures(solved.inputs)
    if seen.batch_size is not None and of.rank < seen.batch_size:
        notes.append(
            f"The rank is below the batch size {seen.batch_size}: some examples are equal, or add no more than "
            "rounding or noise to the gradient. The examples found are repeated in their place."
        )
        repeated = torch.arange(seen.batch_size, device=inputs.device) % of.rank
        inputs, labels = inputs[repeated], None if labels is None else labels[repeated]
    if solved.gap > ROUNDING:
        notes.append(f"Noise on the update leaves a relative distance of {solved.gap:.1g} in this layer.")
    labels = None if labels is None else labels.to(inputs.device)
    return Reconstruction(
        inputs=seen.normalisation.invert(inputs),
        labels=labels,
        objective=solved.gap,
        verified=labels is not None and _explains(seen, inputs, labels),
        labels_granted=seen.labels is not None,
        trace=(((1, solved.gap),),),
        notes=tuple(notes),
    )


def _solved(first: InputLayer, planes: Hyperplanes) -> _Solved:
    """Return the examples of a complete set of normals: lengths by the bias gradient, then X = Q⁻¹ S Vᵀ."""
    of = planes.of
    sparse = of.columns(planes.basis).T
    lengths = torch.linalg.lstsq(sparse, first.bias.unsqueeze(1)).solution.squeeze(1)
    scaled = planes.basis.T * lengths
    inputs = torch.linalg.lstsq(scaled, of.values.unsqueeze(1) * of.right).solution
    if not inputs.isfinite().all():
        return _Solved(inputs, sparse * lengths, 0.0, 1.0)
    zero = torch.stack([of.sizes(normal) < 1 for normal in planes.basis], 1)
    agreement = ((first.slopes(inputs).T == 0) == zero).double().mean(0).min()
    return _Solved(inputs, sparse * lengths, float(agreement), _gap(first, inputs, sparse * lengths))


def _refined(first: InputLayer, of: Factors, solved: _Solved) -> _Solved:
    """Return X and the columns of least squares under the model's zeros, if these explain the gradient about as well.

    The projection of the gradient on its leading directions stands in for the gradient.
    """
    inputs, target = solved.inputs, torch.cat([(of.left * of.values) @ of.right, first.bias.unsqueeze(1)], 1)
    for _ in range(REFINEMENTS):
        active = (first.slopes(inputs) != 0).T.double()  # [m, r]
        extended = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
        normal = extended @ extended.T
        masked = active.unsqueeze(2) * normal * active.unsqueeze(1) + torch.diag_embed(1 - active)
        columns = torch.linalg.solve(masked, active * (target @ extended.T))
        inputs = torch.linalg.lstsq(columns, target[:, :-1]).solution
        if not inputs.isfinite().all():
            return solved
    gap = _gap(first, inputs, columns)
    return solved._replace(inputs=inputs, columns=columns, gap=gap) if gap <= 2 * solved.gap else solved


def _gap(first: InputLayer, inputs: Tensor, columns: Tensor) -> float:
    """Return the relative distance of the layer's gradient, recomputed from examples and columns."""
    gap = (columns @ inputs - first.weight).square().sum() + (columns.sum(1) - first.bias).square().sum()
    return float((gap / (first.weight.square().sum() + first.bias.square().sum())).sqrt())


def _explains(seen: Observation, inputs: Tensor, labels: Tensor) -> bool:
    """Return whether the examples give the observed update, under the defenses that the adversary knows."""
    return Matching(seen, lambda ours, theirs, at: ours[0].new_zeros(())).explained(inputs, labels)


ATTACK = Spear()

DEMONSTRATION = Demonstration(ATTACK, network="mlp", examples=4, size=8, seeded=False)
