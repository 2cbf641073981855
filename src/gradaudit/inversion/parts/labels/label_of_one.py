"""iDLG: infer the label of a single example from the last layer (Zhao et al., 2020, equations 3-5)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._head import Head, head_gradient


@dataclass(frozen=True)
class IDLG(LabelInference):
    """The label of a single example, the only class with a negative logit gradient.

    This is true for one-hot cross entropy. If the layer has a bias, that gradient is shared directly. Otherwise row k
    of the weight's gradient is d_k·h. If h ≥ 0 the row sums have the sign of d_k; if the rows have mixed signs, the
    label's row is the one whose product with every other row is negative, whatever h. (The authors' code uses the row
    sums in every case.)
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def read(self, seen: Observation) -> Labels:
        """Return the label, `[1]` integer.

        Raise `AttackFailed` for a larger batch, whose labels this rule cannot infer.
        """
        batch_size = require_batch_size(seen, self)
        if batch_size != 1:
            raise AttackFailed(
                f"{self!r} infers the label of one example, but this update has {batch_size}. Grant LABELS, or set "
                "batch_size to 1."
            )
        head = head_gradient(seen)
        label = label_of_one(head).view(1)
        counts = torch.zeros(seen.classes, dtype=torch.long, device=label.device).index_fill(0, label, 1)
        return Labels(label, counts=counts, confidence=sureness(head, int(label)))


def label_of_one(head: Head) -> Tensor:
    """Return the label, a scalar integer tensor. Raise `AttackFailed` if no entry of the bias gradient is negative."""
    if head.bias is not None:
        if not head.bias.min() < 0:
            raise AttackFailed("no entry of the last layer's bias gradient is negative, but the label's should be.")
        return head.bias.argmin()
    sums = head.weight.sum(1)
    if (head.weight >= 0).all(1).logical_or((head.weight <= 0).all(1)).all():
        return sums.argmin()
    rows = head.weight / head.weight.norm(dim=1, keepdim=True).clamp_min(1e-30)
    agreement = (rows @ rows.T).fill_diagonal_(0)
    return agreement.sum(1).argmin()


def sureness(head: Head, label: int) -> float:
    """Return a confidence in [0, 1]: 1 if every other row points away from the label's, as it does for one example."""
    rows = head.weight if head.bias is None else head.bias.unsqueeze(1)
    products = rows @ rows[label]
    own = products[label]
    against = (products <= 0).sum()
    return float(against / (len(rows) - 1)) if len(rows) > 1 and own > 0 else 0.0
