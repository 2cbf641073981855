"""Bias sign: the classes whose bias gradient is negative."""

from dataclasses import dataclass

from ....client.observation import Observation
from ..label_values import LabelInference, Labels
from ._counting import present
from ._head import signed_head


@dataclass(frozen=True)
class BiasSign(LabelInference):
    """A negative bias gradient marks a class of the batch, whatever the activations (after Zhao et al., 2020, eq. 3-5).

    ∂L/∂b_k = mean_i (p_ik - 1[y_i = k]) is positive for an absent class, so without noise nothing wrong is named; a
    class hides where the model is sure of it for other examples, or where its share of the batch is below its mean
    probability. One example: exact. ReLU and its like behind the layer shrink entries but keep their signs: what is
    named is there still.
    """

    def read(self, seen: Observation) -> Labels:
        """The set of classes. Raises `AttackFailed` without a bias."""
        bias = signed_head(seen).biases
        return present(seen, bias, bias < 0)
