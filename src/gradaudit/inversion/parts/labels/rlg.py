"""RLG: classes that a hyperplane separates in the gradient's own subspace (Dang et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ..label_values import LabelInference, Labels
from ._counting import present
from ._head import double_head

DECIDED = 1e-5  # share of the largest possible value above which a class counts as separated


@dataclass(frozen=True)
class SeparatingHyperplane(LabelInference):
    """The classes that a hyperplane separates from all others in the column space of the gradient.

    A class is present if some combination of the gradient's columns is negative at that class and nowhere else. Dang et
    al., "Revealing and protecting labels in distributed training", arXiv:2111.00556. With ∂L/∂W = U S Vᵀ of rank s, the
    columns of U span the rows p_i - y_i of the examples, each negative at its label alone. For class c, linear
    programming finds the vector r in [-1, 1]^s with the least U_c · r subject to U_k · r ≥ 0 for every other k.

    The rule works for any activation and any scale, and finds more labels than a sign rule, but only while the rank is
    below K - 1 and m: above it every class can be separated, and the rule is refused.

    Deviation: the authors try a perceptron before the linear program; here the program's dual is tested first, by
    non-negative least squares. The result is the same.
    """

    name: ClassVar[str] = "rlg"

    def read(self, seen: Observation) -> Labels:
        """Return the set of classes. Raise `AttackFailed` if the rank is too large."""
        weight = double_head(seen).weight
        basis, uncertain = column_space(weight, seen.batch_size)
        classes, rank = basis.shape
        if rank >= min(classes - 1, weight.shape[1]):
            raise AttackFailed(
                f"with {classes} classes and {weight.shape[1]} features rank {rank} lets every class look "
                "present. The batch must be smaller than both."
            )
        scores = separable(basis, uncertain)
        return present(seen, scores, scores < -DECIDED)


def column_space(weight: Tensor, batch_size: int | None) -> tuple[Tensor, float]:
    """Return an orthonormal basis `[K, s]`, and the uncertainty of its entries from single precision.

    Singular values below single precision do not count towards the rank s, which is at most the batch size if that is
    known.
    """
    left, singular, _ = torch.linalg.svd(weight, full_matrices=False)
    single = torch.finfo(torch.float32).eps * float(singular[0])
    rank = int((singular > single * max(weight.shape)).sum())
    rank = min(rank, batch_size or rank)
    return left[:, :rank], single / float(singular[rank - 1])


def separable(basis: Tensor, uncertain: float) -> Tensor:
    """Return `[K]`: per class the least product that a hyperplane reaches, as a share of the least possible.

    It is 0 if no hyperplane separates the class.
    """
    lengths = basis.norm(dim=1, keepdim=True)
    # The L2 norm of a row changes no sign, but the solver's tolerances are absolute.
    rows = torch.where(lengths > 10 * uncertain, basis / lengths.clamp_min(1e-30), 0.0).numpy()
    return torch.tensor([_least(rows, label) for label in range(len(rows))], dtype=torch.float64)


def _least(rows: np.ndarray, label: int) -> float:
    row, rest = rows[label], np.delete(rows, label, axis=0)
    # Farkas: a row within the cone of the others cannot be separated; this is faster to check than the linear program.
    if not row.any() or nnls(np.ascontiguousarray(rest.T), row)[1] < DECIDED:
        return 0.0
    found = linprog(row, A_ub=-rest, b_ub=np.zeros(len(rest)), bounds=(-1, 1), method="highs")
    return float(found.fun / np.abs(row).sum()) if found.success else 0.0
