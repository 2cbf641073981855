"""The assignment of reconstructions to private examples."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ._image_pairs import clean_pair, mean_squared_errors


def assign(reconstruction: Tensor, truth: Tensor) -> Tensor:
    """Return the one-to-one assignment of least total squared error (Crouse, 2016, doi:10.1109/TAES.2016.140952).

    A gradient does not determine the order of its examples, so that all metrics are computed after this one assignment:
    `reconstruction[assign(reconstruction, truth)]` is aligned with `truth`. Each reconstruction is used once, so
    that several copies of one image do not count for the rest of the batch. Both sides are clamped to [0, 1]; a pixel
    of the reconstruction that is NaN or infinite counts as a squared error of 1 against every example.

    Args:
        reconstruction: `[B, C, H, W]` floats, pixels, in any order.
        truth: `[B, C, H, W]` floats, pixels.

    Returns:
        `[B]` int64: for each example of `truth` the index of its reconstruction; a permutation of 0 ... B - 1.

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a tensor is not floating point, or the ground truth
            is not finite.
    """
    guess, true = clean_pair(reconstruction, truth)
    return assign_at_cost(mean_squared_errors(guess, true).T)


def assign_at_cost(costs: Tensor) -> Tensor:
    """Return the one-to-one assignment of least total cost.

    Args:
        costs: `[B, B]` finite floats: a row for each private example, a column for each reconstruction.

    Returns:
        `[B]` int64: for each example the index of its reconstruction; a permutation of 0 ... B - 1.
    """
    _, columns = linear_sum_assignment(costs.numpy())
    return torch.from_numpy(columns).to(torch.int64)
