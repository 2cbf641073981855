"""InstaHide: mixtures of the batch whose values get random signs (Huang et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._defense import Doubt, RoundWork
from .mixup import MixUp


@dataclass(frozen=True)
class InstaHide(MixUp):
    """Intra-batch InstaHide: MixUp within the batch, then a random sign for every value of every mixture.

    `x̃_b = σ_b ∘ Σ_j λ_j x_(b, j)` with σ_b from {-1, 1}, one sign for each pixel and channel (Huang et al., 2020,
    algorithm 1, without public images). The signs are applied in the space of the model's inputs, after normalisation,
    where a value of 0 is the mean of the data. Labels, weights and members are those of `MixUp`. One example is not
    mixed, but gets signs.

    Args:
        k: Number of members of a mixture, at least 2.
        upper: Largest weight of one member, in (1/k, 1].
    """

    name: ClassVar[str] = "instahide"
    paper: ClassVar[str] = "arXiv:2010.02772"
    doubt: ClassVar[Doubt] = Doubt(
        "the update is that of mixtures with random signs, and the attack reconstructs these, which are compared with "
        "the members. Decoding many such encodings of the same examples (Carlini et al., 2021) may recover more",
        "its equations return mixtures with random signs",
        simulated=False,
    )

    def change_batch(self, inputs: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Return the mixtures with random signs and their labels; arguments and errors as for `MixUp`."""
        mixed, targets = super().change_batch(inputs, labels, classes)
        return mixed * (2 * torch.randint_like(mixed, 2) - 1), targets

    def remarks(self, work: RoundWork) -> tuple[str, ...]:
        """Return the sentence on what reconstructions are compared with."""
        return (f"Under {self.name} the client trains on mixtures with random signs; a reconstruction is compared with "
                "their members.",)  # fmt: skip
