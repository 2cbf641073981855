"""The fully connected network of TabLeak."""

from __future__ import annotations

from torch import nn

from ..values.types import Modality
from ._named import NamedModel


def tabular_mlp(num_classes: int, features: int) -> nn.Module:
    """The MLP of TabLeak (Vero et al., 2023, arXiv:2210.01785, section 5): two hidden layers of 100 units with ReLU.

    Args:
        num_classes: K.
        features: D, the width of an encoded row.

    Returns:
        `[B, D]` -> logits `[B, K]`.
    """
    return nn.Sequential(
        nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, num_classes)
    )


MODEL = NamedModel("tabular-mlp", Modality.TABLE, tabular_mlp)
