"""The size of an update as a client sends it, without entropy coding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...values.types import Tensors

FLOAT = 32  # bits of a number
PROBED = 4_096  # entries that show whether a tensor has few distinct values
MOST_VALUES = 1_024  # of a table


def encoded_bits(tensors: Tensors) -> float:
    """Return the bits of all tensors, each in the smallest of these encodings of its n entries, z of them not zero.

    - dense: 32 n
    - sparse: z (32 + ceil(log2 n)), a value and a position for each entry that is not zero
    - a table of the v distinct values, and the number of its value for each entry: 32 v + n ceil(log2 v)
    - sparse with such a table: 32 v + z (ceil(log2 v) + ceil(log2 n))

    The last one counts only the values that are not zero. Signs therefore take one bit, and values of b bits take b. No
    entropy coding is assumed.
    """
    return float(sum(_bits(tensor) for tensor in tensors))


def _bits(tensor: Tensor) -> int:
    entries = tensor.detach().flatten()
    n = len(entries)
    if not n:
        return 0
    z, position = int(entries.count_nonzero()), _width(n)
    sizes = [FLOAT * n, z * (FLOAT + position)]
    values = _distinct(entries)
    if values is not None:
        every = values + (z < n)
        sizes += [FLOAT * every + n * _width(every), FLOAT * values + z * (_width(values) + position)]
    return min(sizes)


def _width(count: int) -> int:
    """Return the number of bits that tell `count` things apart."""
    return math.ceil(math.log2(count)) if count > 1 else 0


def _distinct(entries: Tensor) -> int | None:
    """Return the number of distinct values that are not zero, or `None` if there are more than a table holds."""
    if len(torch.unique(entries[:: max(1, len(entries) // PROBED)])) > MOST_VALUES:
        return None
    found = len(torch.unique(entries[entries != 0]))
    return found if found <= MOST_VALUES else None
