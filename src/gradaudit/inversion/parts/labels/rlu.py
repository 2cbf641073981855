"""RLU: counts by least squares on the mean probabilities of each true class (Chen and Vikalo, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.optimize import nnls
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import counted, round_to_total
from ._head import local_steps, mean_head
from ._probe import Answers, ask

TOTAL = 10.0  # weight of the equation Σ n = B
UNLABELLED = "The public images have no labels, so the model's own probabilities are used instead."


@dataclass(frozen=True)
class ErroneousConfidence(LabelInference):
    """Counts n ≥ 0 that explain the head's gradient in least squares, with probabilities that depend on the true class.

    Chen and Vikalo, "Recovering labels from local updates in federated learning", arXiv:2405.00955. Over examples of
    class c the model assigns class j the mean probability E_cj; then B ∂b_j ≈ Σ_c n_c E_cj - n_j, and likewise for the
    row sums of the weight, with every probability times its example's sum of features. The E are measured on public
    images, so that a trained, confident model is no obstacle in principle.

    Deviations: after several local steps the paper simulates the training on public data; here E is the mean along the
        straight line between the models before and after, both of which the server has. If the public images have no
        labels, an image counts for every class in proportion to the model's own probability of it.

    Args:
        pictures: Largest number of public images.
    """

    name: ClassVar[str] = "rlu"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.PUBLIC_DATA
    pictures: int = 1000

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B. Raise `AttackFailed` if the least squares do not converge."""
        size = require_batch_size(seen, self)
        head = mean_head(seen)
        system, right = _equations(ask(seen, "public", self.pictures), head.bias, head.sums)
        if local_steps(seen) > 1:
            way = (local_steps(seen) - 1) / (2 * local_steps(seen))
            after, _ = _equations(ask(seen, "public", self.pictures, end=True), head.bias, head.sums)
            system = system.lerp(after, way)
        classes = system.shape[1]
        system = torch.cat([torch.full((1, classes), TOTAL, dtype=system.dtype), system])
        right = torch.cat([torch.tensor([TOTAL], dtype=right.dtype), right]) * size
        try:
            raw = torch.from_numpy(nnls(system.numpy(), right.numpy(), maxiter=30 * classes)[0])
        except RuntimeError as error:
            raise AttackFailed(f"the least squares for {classes} classes did not converge: {error}.") from error
        notes = () if seen.public_labels is not None else (UNLABELLED,)
        return counted(seen, round_to_total(raw, size), raw, notes)


def _equations(answers: Answers, bias: Tensor | None, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return the system `[2K or K, K]` and right side `[2K or K]` for the shares n / B.

    Weight rows are in units of the mean feature sum.
    """
    masses = answers.masses / answers.masses.abs().mean().clamp_min(torch.finfo(torch.float64).tiny)
    systems, rights = [_pulls(answers, masses)], [sums / answers.masses.abs().mean().clamp_min(1e-30)]
    if bias is not None:
        systems.append(_pulls(answers, torch.ones_like(masses)))
        rights.append(bias)
    return torch.cat(systems), torch.cat(rights)


def _pulls(answers: Answers, masses: Tensor) -> Tensor:
    """Return `[K, K]`: entry j, c is the mean of (p_j - 1[j = c]) · mass over examples of class c."""
    p = answers.probabilities
    belongs = p
    if answers.labels is not None:
        told = (answers.labels.unsqueeze(1) == torch.arange(p.shape[1])).double()
        belongs = torch.where(told.any(0), told, p)  # a class without images uses the model's probabilities
    belongs = belongs / belongs.sum(0).clamp_min(torch.finfo(p.dtype).tiny)
    heavy = belongs * masses.unsqueeze(1)
    return p.T @ heavy - torch.diag(heavy.sum(0))
