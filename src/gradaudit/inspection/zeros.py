"""Signs of pruning: zeros that units at rest do not explain."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .facts import SignFact

SMALL = 64  # tensors with fewer values say too little
UNIFORM = 0.8  # share of tensors that must agree
SCATTERED = 0.05  # share of zeros outside rows and columns that are zero as a whole
GAP = 50.0  # how much farther from zero the smallest value is than chance would have it


def pruned(tensors: Mapping[str, Tensor], rounding: Mapping[str, float], grid: bool = False) -> SignFact:
    """Scattered zeros, and either the same share of them in every tensor, or no value near them.

    Units at rest give zeros too, but whole rows and columns, unequally many in every tensor, and beside them the
    smallest values go down to zero.

    Args:
        tensors: The update.
        rounding: Name -> rounding of one entry.
        grid: The values lie on a grid, which makes zeros of its own.
    """
    large = {name: value for name, value in tensors.items() if value.numel() >= SMALL}
    total = sum(value.numel() for value in tensors.values())
    kept = sum(int(value.count_nonzero()) for value in tensors.values())
    zeros = 1 - kept / total
    if not kept:
        return SignFact("pruned", None, 0.0, "The whole update is zero.")
    matrices = [value for value in large.values() if value.ndim > 1]
    holes = [scattered(value) for value in matrices]
    if sum(hole > SCATTERED for hole in holes) > 0.5 * len(holes):
        middle, alike = _uniform(list(large.values()))
        if alike >= max(3, UNIFORM * len(large)) and middle < 0.99:
            where = f"in {alike} of {len(large)} tensors alike"
            evidence = f"{middle:.2%} of the values are left {where}; the rest is exactly 0."
            return SignFact("pruned", True, 0.99, evidence, middle)
    scatter = sum(hole * value.numel() for hole, value in zip(holes, matrices, strict=True)) / total
    if scatter > SCATTERED and not grid and _gap(tensors, rounding) > GAP:
        evidence = f"{zeros:.0%} of the values are exactly 0 and none lies near it: the smallest ones were cut off."
        return SignFact("pruned", True, 0.95, evidence, 1 - zeros)
    if zeros > 0.01:
        evidence = f"{zeros:.0%} of the values are exactly 0, but as units at rest and rounding leave them."
        return SignFact("pruned", False, 0.8, evidence)
    return SignFact("pruned", False, 0.99, f"{zeros:.1%} of the values are exactly 0.")


def scattered(value: Tensor) -> float:
    """Share of zeros in `[n, ...]` once rows and columns without any other value are left out."""
    alive = value.flatten(1) != 0
    block = int(alive.any(1).sum()) * int(alive.any(0).sum())
    return 1 - int(alive.sum()) / block if block else 0.0


def _uniform(values: list[Tensor]) -> tuple[float, int]:
    """The middle share of values other than zero, and how many tensors have just it."""
    shares = [int(value.count_nonzero()) / value.numel() for value in values]
    middle = sorted(shares)[len(shares) // 2] if shares else 1.0
    near = [abs(share - middle) <= 1.5 / value.numel() + 1e-3 for share, value in zip(shares, values, strict=True)]
    return middle, sum(near)


def _gap(tensors: Mapping[str, Tensor], rounding: Mapping[str, float]) -> float:
    """The smallest magnitude in units of what chance gives, rms / number, in the tensor of the middle value.

    0 where rounding explains it.
    """
    gaps: list[tuple[float, int]] = []
    for name, value in tensors.items():
        alive = value[value != 0].double()
        if not len(alive):
            continue
        least = float(alive.abs().min())
        if least <= GAP * rounding[name]:
            return 0.0
        gaps.append((least * len(alive) / float(alive.square().mean().sqrt()), len(alive)))
    half = sum(amount for _, amount in gaps) / 2
    for gap, amount in sorted(gaps):
        half -= amount
        if half <= 0:
            return gap
    return 0.0
