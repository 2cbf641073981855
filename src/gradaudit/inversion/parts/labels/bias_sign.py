"""Label inference by the sign of the bias gradient."""

from dataclasses import dataclass

from ....protocol.observation import Observation
from ..label_values import LabelInference, Labels
from ._counting import present
from ._head import signed_head


@dataclass(frozen=True)
class BiasSign(LabelInference):
    """The classes whose bias gradient is negative, whatever the activations (after Zhao et al., 2020, eq. 3-5).

    ∂L/∂b_k = mean_i (p_ik - 1[y_i = k]) is positive for an absent class, so without noise no absent class is named. A
    present class is missed if the model is confident of it for other examples, or if its share of the batch is below
    its mean probability. For one example the result is exact. ReLU and similar functions behind the layer shrink
    entries but keep their signs, so the classes named are still present.
    """

    def read(self, seen: Observation) -> Labels:
        """Return the set of classes. Raise `AttackFailed` if the update has no bias."""
        bias = signed_head(seen).biases
        return present(seen, bias, bias < 0)
