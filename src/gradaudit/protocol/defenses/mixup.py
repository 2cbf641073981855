"""MixUp: the client trains on weighted means of its own examples and labels (Zhang et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...values.errors import AuditError
from ._defense import ActsOn, Defense, Doubt, RoundWork, require

FIRST = 3.0  # parameter of the Dirichlet distribution for an example itself; that of the other members is 1
TRIES = 1000


@dataclass(frozen=True)
class MixUp(Defense):
    """MixUp within the batch: every example becomes a weighted mean of itself and k - 1 others, and so do the labels.

    `x̃_b = Σ_j λ_j x_(b, j)` and `ỹ_b = Σ_j λ_j y_(b, j)` with one-hot labels y, as Huang et al. (2021, section 3.2)
    use it as a defense. One vector λ, drawn from a Dirichlet distribution with parameters (3, 1, ..., 1), serves the
    whole batch; it is drawn again until its largest entry is at most `upper`. Member 1 is the example itself, the
    others are further examples of the batch, all different. A batch of fewer than k examples is mixed from all of them,
    and one example stays as it is. The mixture is taken in the space of the model's inputs, after normalisation.

    Reconstructions are compared with the members, the private examples, not with the mixtures. An adversary that knows
    this defense has nothing to compare differently: it recovers mixtures, and has to separate them afterwards.

    Args:
        k: Number of members of a mixture, at least 2.
        upper: Largest weight of one member, in (1/k, 1].
    """

    name: ClassVar[str] = "mixup"
    paper: ClassVar[str] = "arXiv:2112.00059"
    acts_on: ClassVar[ActsOn] = ActsOn.BATCH
    doubt: ClassVar[Doubt] = Doubt(
        "the update is that of mixtures of the private examples, and the attack reconstructs mixtures, which are "
        "compared with their members. Separating the members of several mixtures may recover more",
        "its equations return mixtures of the private examples",
        simulated=False,
    )
    k: int = 4
    upper: float = 0.65

    def __post_init__(self) -> None:
        require(self.k >= 2, self, "k must be at least 2")
        require(1 / self.k < self.upper <= 1, self, "upper must be in (1/k, 1]")

    def change_batch(self, inputs: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return the mixtures `[B, ...]` and their labels `[B, K]`; the arguments themselves for one example.

        Args:
            inputs: `[B, ...]` as the model takes them.
            labels: `[B]` classes, or real numbers `[B, ...]`, such as probabilities.
            classes: K, the number of logits.

        Raises:
            AuditError: The inputs are not real numbers, or the labels are neither classes nor real numbers.
        """
        if not inputs.is_floating_point():
            raise AuditError(f"{self.name}: needs inputs of real numbers, such as images. Found {inputs.dtype}.")
        count = len(inputs)
        if count == 1:
            return inputs, labels
        weights = self.weights(min(self.k, count)).to(inputs)
        order = torch.randperm(count, device=inputs.device)
        place = order.argsort()
        members = [order[(place + shift) % count] for shift in range(len(weights))]
        targets = self._targets(labels, classes, inputs)
        pairs = list(zip(weights, members, strict=True))
        return _sum([w * inputs[m] for w, m in pairs]), _sum([w.to(targets) * targets[m] for w, m in pairs])

    def weights(self, members: int) -> Tensor:
        """Return the weights λ of a mixture of so many members, `[members]`, drawn at random."""
        chance = torch.distributions.Dirichlet(torch.tensor([FIRST, *[1.0] * (members - 1)]))
        upper = max(self.upper, 1 / members)
        for _ in range(TRIES):
            weights = chance.sample()
            if float(weights.max()) <= upper:
                return weights
        # A bound close to 1/k is hardly ever met by chance: move the last draw towards equal weights.
        equal = 1 / members
        return equal + (weights - equal) * (upper - equal) / (weights.max() - equal)

    def remarks(self, work: RoundWork) -> tuple[str, ...]:
        """Return the sentence on what reconstructions are compared with."""
        return (f"Under {self.name} the client trains on mixtures; a reconstruction is compared with their members.",)

    def _targets(self, labels: Tensor, classes: int, inputs: Tensor) -> Tensor:
        """Return labels that can be mixed: one-hot for classes, real numbers as they are."""
        if labels.is_floating_point():
            return labels
        if labels.ndim != 1 or classes < 2:
            found = f"{labels.dtype} {list(labels.shape)} and {classes} logits"
            raise AuditError(f"{self.name}: needs one class for each example, or real numbers. Found {found}.")
        return nn.functional.one_hot(labels, classes).to(inputs)


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum(0)
