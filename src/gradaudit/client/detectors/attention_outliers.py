"""Queries, keys and values that are nearly empty, with a few huge entries: Decepticons (Fowl et al., 2023)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..received import Received
from ._detector import Detector, Indicator, Places

FUSED = re.compile(r"(.*(?:in_proj_|(?:qkv|c_attn|query_key_value)\.))weight")
SINGLE = re.compile(r"(.*(?:q_proj|k_proj|v_proj|query|key|value|q_lin|k_lin|v_lin)\.)weight")
LEAST = 32  # width from which zeros and outliers say something


@dataclass(frozen=True)
class AttentionOutliers(Detector):
    """A projection of an attention layer is mostly zero, and its largest entry is far above the rest.

    Decepticons sets the queries, keys and values of the first block to a few huge entries, which fix the attention on
    one position. The projections are found by their usual names (PyTorch, timm, transformers). The thresholds were
    measured on five untrained networks; trained or pruned transformers are not among them.

    Args:
        zeros: Share of entries of the weight that are exactly zero.
        peak: Largest magnitude of weight and bias over the root mean square of the weight.
    """

    paper: ClassVar[str] = "arXiv:2201.12675"
    sign: ClassVar[str] = (
        "The attention of {where} is nearly empty beside a few huge entries, as Decepticons sets it to copy tokens."
    )
    none: ClassVar[str] = "No attention layer with a usual name is nearly empty with huge entries."
    blind: ClassVar[str] = "it has no attention layer with a usual name"
    zeros: float = 0.5
    peak: float = 8.0

    def places(self, received: Received) -> Places:
        """Yield both numbers of every projection."""
        for name, weight, bias in projections(received):
            zeros, peak = outliers(weight, bias)
            yield (
                name,
                (
                    Indicator("share of zero entries", zeros, self.zeros, (0.0, 3.4e-6)),
                    Indicator("largest entry over the root mean square", peak, self.peak, (1.7, 5.7)),
                ),
            )


def projections(received: Received) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield name, weight `[d, n]` and bias of every query, key and value projection, fused ones in thirds."""
    for name, value in received.weights.items():
        fused, single = FUSED.fullmatch(name), SINGLE.fullmatch(name)
        if value.ndim != 2 or min(value.shape) < LEAST or not (fused or single):
            continue
        prefix = (fused or single).group(1)  # type: ignore[union-attr]
        bias = received.weights.get(prefix + "bias")
        if single:
            yield name, value, bias
            continue
        weight = value if value.shape[0] == 3 * value.shape[1] else value.T
        if weight.shape[0] % 3 == 0:
            thirds = weight.chunk(3)
            biases = bias.chunk(3) if bias is not None and len(bias) == len(weight) else (None,) * 3
            yield from (
                (f"{name} ({part})", *pair) for part, pair in zip("QKV", zip(thirds, biases, strict=True), strict=True)
            )


def outliers(weight: Tensor, bias: Tensor | None) -> tuple[float, float]:
    """Return the share of zeros of a weight, and the largest magnitude over its root mean square.

    A weight that is zero as a whole, with a bias of zero, has no outliers; with another bias the quotient is infinite.
    """
    entries = weight.double()
    size = float(entries.square().mean().sqrt())
    largest = max(float(entries.abs().max()), 0.0 if bias is None else float(bias.abs().max()))
    zeros = float((weight == 0).double().mean())
    return zeros, largest / size if size > 0 else (torch.inf if largest > 0 else 0.0)
