"""SPEAR (Dimitrov, Baader, Müller & Vechev, NeurIPS 2024): exact batches from the sparse gradient behind a ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from ..inversion.attack import TimeLimit, Watch
from ..inversion.network.first_linear import FirstLinear, first_linear
from ..inversion.network.sparse_columns import Hyperplanes, factors
from ..inversion.run.refusal import attacked, require_fit
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._demonstration import Demonstration
from ._sparse_batch import SparseBatch, certified

PROBES = 16  # random inputs on which the activation behind the layer is tested
SPARSE = 0.05  # least share of exact zeros in ∂L/∂Z on them for which the method is made
PATIENCE = 4  # rounds of starts between two tests of a complete set that failed


@dataclass(frozen=True)
class Spear:
    """All examples of a batch from the gradient of a first linear layer followed by a ReLU (theorems 3.1 to 3.4).

    For Z = X Wᵀ + b the gradient is ∂L/∂W = (∂L/∂Z)ᵀ X, of rank B. With its singular value decomposition U S Vᵀ there
    is a unique invertible Q with

        (∂L/∂Z)ᵀ = U Q,    X = Q⁻¹ S Vᵀ.

    A ReLU that is off makes an entry of ∂L/∂Z zero, so U q is sparse for every column q of Q. `Hyperplanes` finds these
    q up to their lengths, which follow from ∂L/∂b = (∂L/∂Z)ᵀ 1 by least squares. The label of an example is the class
    whose own ∂L/∂Z has the direction of its column.

    The result is `verified` if the zeros of the columns are those of the model on the examples found (the paper's
    consistency score), each column is the model's own for its label, and the recomputed update is the observed one.
    If the first of these fails, there is no result.

    Several local steps on one batch multiply the same X, so weight differences are inverted alike, as long as each
    example leaves enough units off in all steps. Tolerances follow from what the gradient holds beyond its rank:
    rounding or noise.

    The batch must not exceed the layer's inputs or units. Its limit lies well below: with m units, every hyperplane is
    determined by the m / 2 units that are off, of which several times B are needed; with fewer, other hyperplanes hold
    as many. Alike examples, such as images that are not centred, switch off the same units and need more of them. Equal
    examples count once in the rank. Linearly dependent ones, such as rows of few categories, are not separated.

    Args:
        name: Name in the literature.
        paper: arXiv id.
        starts: Largest number of starts of the search; a `TimeLimit` ends it earlier.
        together: Number of starts that are computed at once.
        clear: Smallest ratio of two neighbouring singular values that separates the batch from noise.
        agreement: Smallest share of units, for every example, on which the zeros of its column and those of the model
            agree. Two examples mixed agree on about three quarters.
        deviations: Differences from the paper.
    """

    name: str = "spear"
    paper: str = "arXiv:2403.03945"
    starts: int = 8_192
    together: int = 16
    clear: float = 3.0
    agreement: float = 0.9
    deviations: tuple[str, ...] = (
        "normals are found by reweighted least squares from random starts; the paper draws B - 1 rows, whose chance "
        "halves with every further example",
        "the search fits Z itself, which the weights span, to the zeros; the paper uses the weights only to test a "
        "complete set",
        "the zeros are those of the model's own gradient, so that any layer may follow that yields zeros",
        "tolerances follow from the singular values beyond the rank; the paper has fixed ones",
    )
    needs: ClassVar[Knowledge] = Knowledge.NOTHING

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Return the examples, in the order of granted labels, or in no meaningful order.

        Args:
            seen: What the adversary sees.
            seed: Seed of the starts.
            watch: Called after every round of starts; a `TimeLimit` ends the search.
            keep: Not used.

        Raises:
            AttackFailed: The first layer is not linear with a bias and a ReLU behind it, its gradient has no gap at a
                rank that it can hold, or the search ended before all columns were found that agree with the model.
        """
        require_fit(self, seen.knowledge, seen.modality)
        seen = attacked(self.name, seen)
        try:
            first = _suitable(seen)
            batch = self._found(seen, first, torch.Generator().manual_seed(seed), watch)
            return certified(seen, first, batch)
        except AttackFailed as error:
            raise AttackFailed(f"{self.name}: {error}") from error

    def _found(
        self, seen: Observation, first: FirstLinear, generator: torch.Generator, watch: Watch | None
    ) -> SparseBatch:
        """Search until the columns agree with the model; raise `AttackFailed` if the time or the starts are spent."""
        weight, bias = first.gradients(seen)
        of = factors(weight, seen.batch_size, torch.finfo(seen.update.values[0].dtype).eps, self.clear)
        layer = first.layer
        planes = Hyperplanes(of, layer.weight.detach(), layer.bias.detach(), generator, self.together)
        agreement, waited = 0.0, PATIENCE
        while planes.starts < self.starts and not (isinstance(watch, TimeLimit) and watch.spent):
            before = len(planes.basis)
            planes.search()
            if watch is not None:
                watch(len(planes.basis), of.rank, 1 - len(planes.basis) / of.rank)
            waited = PATIENCE if before < of.rank else waited + 1
            if len(planes.basis) == of.rank and waited >= PATIENCE:
                waited = 0
                solved = SparseBatch.solved(seen, first, planes, (weight, bias))
                agreement = max(agreement, solved.agreement)
                if solved.agreement >= self.agreement:
                    return solved
        raise AttackFailed(_ended(planes, seen, agreement))


def _suitable(seen: Observation) -> FirstLinear:
    """Return the first layer; raise `AttackFailed` if it is not linear with a bias, or no ReLU follows it."""
    if seen.modality is Modality.TEXT:
        raise AttackFailed("the tokens of a text do not enter a linear layer as numbers.")
    first = first_linear(seen.model, seen.input_shape)
    if first.layer.bias is None:
        raise AttackFailed(
            f"the first linear layer ({first.name}) has no bias, whose gradient gives the scale of every example."
        )
    probes = torch.rand(PROBES, *seen.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if float((~first.active(seen.normalisation.apply(probes))).double().mean()) < SPARSE:
        raise AttackFailed(
            "the gradient behind the first linear layer has no zeros on random inputs: no ReLU follows it. A sigmoid, "
            "tanh, GELU or SiLU has none. Choose an attack by gradient matching."
        )
    return first


def _ended(planes: Hyperplanes, seen: Observation, agreement: float) -> str:
    """Return why the search ended without a result."""
    rank, (units, inputs) = planes.of.rank, planes.shape
    state = f"found {len(planes.basis)} of {rank} sparse columns in {planes.starts} starts"
    if len(planes.basis) == rank:
        state += f", but the zeros of the worst agree with the model's own on {agreement:.0%} of the units only"
    if seen.batch_size is not None and rank < seen.batch_size:
        state += f" (the batch has {seen.batch_size} examples: some are equal, linearly dependent, or lost in noise)"
    return (
        f"{state}: too many examples for {units} units and {inputs} inputs, too few units that are off, noise or a "
        "defense, or too little time."
    )


ATTACK = Spear()

DEMONSTRATION = Demonstration(ATTACK, network="mlp", examples=4, size=8, seeded=False)
