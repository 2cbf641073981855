"""iLRG: class embeddings from the last layer, then one linear system for the counts (Ma et al., 2023)."""

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
from ._counting import counted
from ._head import Head, mean_head, own_values

LARGEST = 1e10  # bound of a recovered feature, so that a bias gradient near zero does not yield infinity


@dataclass(frozen=True)
class ClassEmbeddings(LabelInference):
    """Counts from K + 1 linear equations, one per bias gradient and one for the batch size.

    Ma et al., "Instance-wise batch label restoration via gradients in federated learning", ICLR 2023. The ratio of
    weight to bias gradient is a class's mean embedding ĥ_c = ∂W_c / ∂b_c, which has the probabilities q_c = softmax(W
    ĥ_c + b). Then Σ_c n_c = B and, for every j, Σ_c n_c q_c[j] - n_j = B ∂b_j, solved by the pseudo-inverse.

    The system includes all classes with a bias gradient, not only those that a sign rule finds: sign rules miss classes
    as soon as the batch exceeds the classes.

    Counts are rounded as in the authors' code (`rounded`). Deviation: the embedding is bounded instead of divided by
    exponents, so that a bias gradient near zero does not yield infinity.
    """

    name: ClassVar[str] = "ilrg"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def read(self, seen: Observation) -> Labels:
        """Return counts that sum to B. Raise `AttackFailed` if the update has no bias."""
        size = require_batch_size(seen, self)
        head = mean_head(seen)
        counts, raw = solve_counts(seen, head, head.biases != 0, size)
        return counted(seen, counts, raw)


def solve_counts(seen: Observation, head: Head, among: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return integer and unrounded counts `[K]`, zero outside the classes `among` (`[K]` booleans)."""
    weight, bias = own_values(seen)
    classes = among.nonzero().view(-1)
    if not len(classes):
        raise AttackFailed("the bias gradient of the last layer is zero at every class that looks present.")
    smallest = torch.finfo(torch.float64).tiny
    divisor = torch.where(head.biases.abs() < smallest, smallest, head.biases)[classes].unsqueeze(1)
    embeddings = (head.weight[classes] / divisor).clamp(-LARGEST, LARGEST)
    q = (embeddings @ weight.T + bias).softmax(1).T.contiguous()  # [K, classes]
    q[classes, torch.arange(len(classes))] -= 1
    system = torch.cat([torch.ones(1, len(classes), dtype=q.dtype), q])
    right = torch.cat([torch.ones(1, dtype=q.dtype), head.biases]) * size
    raw = torch.zeros(len(head.biases), dtype=q.dtype)
    raw[classes] = torch.linalg.pinv(system, rtol=1e-12) @ right
    counts = torch.zeros(len(raw), dtype=torch.long)
    counts[classes] = rounded(raw[classes], size)
    return counts, raw.clamp(-size, 2 * size)


def rounded(raw: Tensor, size: int) -> Tensor:
    """Return integers near `raw` `[K]` that sum to `size`, rounded as in iLRG's code.

    Negative entries become 0 and all are rounded. An entry that then exceeds the batch is not a solution and becomes 0.
    The sum is corrected one by one, starting with the entries of the largest rounding errors.
    """
    kept = raw.clamp_min(0)
    counts = kept.round()
    counts[counts > size] = 0
    while (missing := size - int(counts.sum())) != 0:
        error = kept.clamp_max(size) - counts
        room = error if missing > 0 else torch.where(counts > 0, -error, -torch.inf)
        chosen = room.topk(min(abs(missing), int((room > -torch.inf).sum()))).indices
        counts[chosen] += 1 if missing > 0 else -1
    return counts.long()
