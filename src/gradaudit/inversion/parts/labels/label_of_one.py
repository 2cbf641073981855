"""iDLG: the label of a single example, read off the last layer (Zhao et al., 2020, equations 3-5)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....client.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._head import Head, head_gradient


@dataclass(frozen=True)
class IDLG(LabelInference):
    """For one example and one-hot cross entropy only the true class has a negative logit gradient.

    With a bias that gradient is shared as it is. Without one, row k of the weight's gradient is d_k·h: where h ≥ 0 the
    row sums carry the sign; where the rows have mixed signs, the label's row is the one whose product with every other
    row is negative, whatever h. (The authors' code takes the row sums in every case.)
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def read(self, seen: Observation) -> Labels:
        """`[1]` integer. Raises `AttackFailed` for a larger batch, whose labels this rule cannot tell."""
        batch_size = require_batch_size(seen, self)
        if batch_size != 1:
            raise AttackFailed(
                f"{self!r} reads the label of one example; this update is of {batch_size}. Grant LABELS, or set "
                "batch_size 1."
            )
        head = head_gradient(seen)
        label = label_of_one(head).view(1)
        counts = torch.zeros(seen.classes, dtype=torch.long, device=label.device).index_fill(0, label, 1)
        return Labels(label, counts=counts, confidence=sureness(head, int(label)))


def label_of_one(head: Head) -> Tensor:
    """The label, a scalar integer tensor."""
    if head.bias is not None:
        if not head.bias.min() < 0:
            raise AttackFailed("no entry of the last bias gradient is negative, and the label's would be.")
        return head.bias.argmin()
    sums = head.weight.sum(1)
    if (head.weight >= 0).all(1).logical_or((head.weight <= 0).all(1)).all():
        return sums.argmin()
    rows = head.weight / head.weight.norm(dim=1, keepdim=True).clamp_min(1e-30)
    agreement = (rows @ rows.T).fill_diagonal_(0)
    return agreement.sum(1).argmin()


def sureness(head: Head, label: int) -> float:
    """In [0, 1]: 1 where every other row points away from the label's, as the gradient of one example has it."""
    rows = head.weight if head.bias is None else head.bias.unsqueeze(1)
    products = rows @ rows[label]
    own = products[label]
    against = (products <= 0).sum()
    return float(against / (len(rows) - 1)) if len(rows) > 1 and own > 0 else 0.0
