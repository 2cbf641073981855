"""Signs of quantisation: half precision, a grid, or few distinct values."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .facts import SignFact

SMALL = 32  # tensors with fewer non-zero values are ignored
UNIFORM = 0.8  # share of tensors that must agree
MANY = 16  # distinct values; with fewer, the levels of a grid may happen to be half-precision numbers
COARSE = ("float8", "qint", "quint", "float4")  # prefixes of the names of storage-only precisions
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def quantised(tensors: Mapping[str, Tensor], rounding: Mapping[str, float], stored: Mapping[str, str]) -> SignFact:
    """Return the sign of quantisation: few levels on a grid, few distinct values, or half precision.

    Args:
        tensors: The update.
        rounding: Name -> rounding error of one entry.
        stored: Name -> precision in the file.
    """
    coarse = sorted({kind for kind in stored.values() if kind.startswith(COARSE)})
    if coarse:
        return SignFact("quantised", True, 0.99, f"The file stores it as {' and '.join(coarse)}.")
    halves = half_precision(tensors, stored)
    if halves:
        how = (
            "The file stores it as" if halves in stored.values() else "In a file of higher precision, every value is a"
        )
        return SignFact("quantised", True, 0.99, f"{how} {halves}.")
    samples = _samples(tensors)
    if not samples:
        return SignFact("quantised", None, 0.0, "No tensor has enough values.")
    needed = UNIFORM * len(samples)
    levels = [grid_levels(value, rounding[name]) for name, value in samples.items()]
    on_grid = [count for count in levels if count is not None]
    if len(on_grid) >= needed:
        most = max(on_grid)
        bits = max(1, math.ceil(math.log2(most)))
        alike = f"{len(on_grid)} of {len(levels)} tensors"
        evidence = f"The values of {alike} lie on a grid of at most {most} levels ({bits} bits)."
        return SignFact("quantised", True, 0.99, evidence, float(most))
    distinct = [len(value.unique()) for value in samples.values()]
    few = sum(count <= 256 and 8 * count <= len(value) for count, value in zip(distinct, samples.values(), strict=True))
    if few >= needed:
        evidence = f"{few} of {len(distinct)} tensors hold at most {max(distinct)} distinct values."
        return SignFact("quantised", True, 0.95, evidence, float(max(distinct)))
    return SignFact("quantised", False, 0.99, "The values do not lie on a grid and rarely repeat.")


def half_precision(tensors: Mapping[str, Tensor], stored: Mapping[str, str]) -> str | None:
    """Return `"float16"` or `"bfloat16"` if the values are exact in it, whatever precision the file has."""
    kept = [precision for precision in stored.values() if precision in HALVES]
    if kept:
        return max(kept, key=lambda name: torch.finfo(HALVES[name]).eps)
    samples = {name: value for name, value in _samples(tensors).items() if len(value[:1024].unique()) > MANY}
    for name, dtype in HALVES.items():
        exact = sum(torch.equal(value.to(dtype).to(value.dtype), value) for value in samples.values())
        if samples and exact >= UNIFORM * len(samples):
            return name
    return None


def _samples(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {name: _sample(value) for name, value in tensors.items()}
    return {name: value for name, value in found.items() if len(value) >= SMALL}


def _sample(value: Tensor, most: int = 65_536) -> Tensor:
    """Return at most `most` non-zero values, evenly spaced."""
    alive = value[value != 0]
    return alive[:: max(1, len(alive) // most)][:most]


def grid_levels(values: Tensor, rounding: float = 0.0) -> int | None:
    """Return the number of levels of the even grid that contains all `values`, or `None` if it needs more than 16 bits.

    Args:
        values: `[n]`, not 0; zero itself may be a level or not.
        rounding: Rounding error of one entry; a grid as fine as that is not quantisation.
    """
    ordered = values.double().unique()
    if len(ordered) < 2:
        return 1
    step = float(ordered.diff().min())
    if step <= 8 * rounding:
        return None
    offsets = (ordered - ordered[ordered.abs().argmin()]).abs().sort().values[1:]
    if offsets[-1] / step > 2**17:
        return None
    reach = 4.0
    while True:  # the step is refined on increasing distances, because it comes from one small difference
        within = offsets[offsets <= reach * step]
        if len(within):
            step = float(within[-1] / (within[-1] / step).round().clamp_min(1))
        if reach > 2**17:
            break
        reach *= 4
    quotients = (ordered - ordered[0]) / step
    levels = int(quotients[-1].round()) + 1
    if levels > 2**16 or float((quotients - quotients.round()).abs().max()) > 0.05:
        return None
    # A few arbitrary numbers always lie on some fine grid; many do not.
    return levels if len(ordered) >= 16 or levels <= 4 * len(values) ** 0.5 else None
