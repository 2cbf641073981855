"""The first step of R-GAP: the input of the last layer and the derivative in its output, from its gradient alone.

For one example the gradient of the last layer is G = k hᵀ with k = ∂L/∂z. Under cross entropy k = p - y; under binary
cross entropy of one logit k is the same for the single logit. Let y be the true class and q = -k_y, which is 1 - p_y,
the probability of being wrong. Then h = -G_y / q, so that the logits are z = d / q with d = -W G_y, and q solves

    1 - p_y(d / q) = q,    p_y = softmax(z)_y, or the sigmoid of the margin for one logit.

For one logit this is the paper's equation μ / (1 + e^μ) = -<G, W>, with the margin μ = d / q. It has one root if the
example is misclassified, and otherwise two or none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit, log_softmax, logsumexp
from torch import Tensor, nn

from ..protocol.local_training.losses.binary_cross_entropy import BinaryCrossEntropy
from ..protocol.local_training.losses.cross_entropy import CrossEntropy
from ..values.errors import AttackFailed
from ..values.types import LossFunction

GRID = np.geomspace(1e-10, 1, 4_001)
FITS = 1e-2  # relative difference of k and p - y up to which a root besides the best fits the other classes


class Start(NamedTuple):
    """One solution of the last layer.

    Args:
        label: y.
        wrong: q, the probability of being wrong; NaN if a bias revealed k.
        error: k, `[1, K]`.
        inputs: h, `[1, m]`.
    """

    label: int
    wrong: float
    error: Tensor
    inputs: Tensor


def require_known(loss: LossFunction) -> None:
    """Raise `AttackFailed` unless the derivative of the loss is known here."""
    if not isinstance(loss, CrossEntropy | BinaryCrossEntropy):
        raise AttackFailed(f"the last layer is solved for cross entropy and binary cross entropy, not for {loss!r}.")


def starts(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> tuple[tuple[Start, ...], ...]:
    """Return the solutions of the last layer, grouped by label; those of one label differ by a factor.

    Args:
        layer: The layer; one output means binary cross entropy.
        weight: G `[K, m]`, the gradient of the weight.
        bias: k `[K]`, the gradient of the bias, if it has one.

    Raises:
        AttackFailed: No root fits the gradient.
    """
    if bias is not None:
        found = [(_from_bias(_labels(bias)[0], weight, bias),)]
    else:
        left, singular, _ = torch.linalg.svd(weight, full_matrices=False)
        if not singular[0] > 0:
            raise AttackFailed("the gradient of the last layer is zero.")
        found = [group for label in _labels(left[:, 0]) if (group := _from_roots(label, layer.weight.detach(), weight))]
    if not found:
        raise AttackFailed(
            "no root fits the gradient of the last layer: the update is not the gradient of one example in "
            "its true size (several examples or steps, or a defense)."
        )
    return tuple(found)


def _labels(error: Tensor) -> list[int]:
    """Return the labels that fit a multiple of k, the likeliest first if its sign is right.

    The entry at the label is minus the sum of all others, which are positive, and therefore the largest. With two
    classes, or one logit, the labels differ by the sign alone.
    """
    if len(error) > 2:
        return [int(error.abs().argmax())]
    first = int(error.argmin()) if len(error) == 2 else int(error < 0)
    return [first, 1 - first]


def _from_bias(label: int, weight: Tensor, error: Tensor) -> Start:
    inputs = error @ weight / error.square().sum()
    return Start(label, float("nan"), error.unsqueeze(0), inputs.unsqueeze(0))


def _from_roots(label: int, own: Tensor, weight: Tensor) -> tuple[Start, ...]:
    """Return one solution for each root q, the most certain wrong prediction first."""
    row = 0 if len(weight) == 1 else label
    binary = len(weight) == 1
    towards = -1.0 if binary and label == 0 else 1.0  # k > 0 at label 0
    margins = (-own @ weight[row]).numpy()  # d
    found = []
    for wrong in roots(margins, None if binary else row):
        inputs = -towards * weight[row] / wrong
        error = weight @ inputs / inputs.square().sum()
        expected = _error(margins / wrong, None if binary else row) * towards
        gap = float(np.linalg.norm(error.numpy() - expected) / np.linalg.norm(expected))
        found.append((gap, Start(label, wrong, error.unsqueeze(0), inputs.unsqueeze(0))))
    least = min((gap for gap, _ in found), default=0.0)
    fitting = [start for gap, start in found if gap <= max(FITS, least)]
    return tuple(sorted(fitting, key=lambda start: -start.wrong))


def roots(margins: np.ndarray, label: int | None) -> list[float]:
    """Return every q in (0, 1) with 1 - p_y(d / q) = q, in ascending order.

    Args:
        margins: d: one for each class, or the margin of the single logit.
        label: y, or `None` for a single logit.
    """

    def excess(wrong: np.ndarray) -> np.ndarray:
        return _wrong(margins / wrong[:, None], label) - wrong

    values = excess(GRID)
    return [
        float(brentq(lambda wrong: excess(np.array([wrong]))[0], GRID[at], GRID[at + 1], xtol=1e-300, rtol=8.9e-16))
        for at in np.flatnonzero(values[:-1] * values[1:] < 0)
    ]


def _wrong(logits: np.ndarray, label: int | None) -> np.ndarray:
    """Return 1 - p_y for rows of logits `[n, K]`, or of single margins `[n, 1]`, without cancellation."""
    if label is None:
        return expit(-logits[:, 0])
    return np.exp(logsumexp(np.delete(logits, label, 1), 1) - logsumexp(logits, 1))


def _error(logits: np.ndarray, label: int | None) -> np.ndarray:
    """Return k = p - y of logits `[K]`; of a single margin, the k of label 1."""
    if label is None:
        return -expit(-logits)
    error = np.exp(log_softmax(logits))
    error[label] = -np.delete(error, label).sum()
    return error
