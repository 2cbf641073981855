"""Signs of pruning: zeros that inactive units do not explain."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .facts import SignFact

SMALL = 64  # tensors with fewer values are ignored
UNIFORM = 0.8  # share of tensors that must agree
SCATTERED = 0.05  # share of zeros outside rows and columns that are entirely zero
GAP = 50.0  # ratio of the smallest magnitude to the one expected by chance


def pruned(tensors: Mapping[str, Tensor], rounding: Mapping[str, float], grid: bool = False) -> SignFact:
    """Return the sign of pruning: scattered zeros, either equally frequent in every tensor or without small values.

    Inactive units cause zeros too, but in whole rows and columns, in varying numbers per tensor, and with arbitrarily
    small values beside them.

    Args:
        tensors: The update.
        rounding: Name -> rounding error of one entry.
        grid: Whether the values lie on a grid, which causes zeros too.
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
            where = f"in {alike} of {len(large)} tensors"
            evidence = f"{middle:.2%} of the values are not 0 {where}; the rest is exactly 0."
            return SignFact("pruned", True, 0.99, evidence, middle)
    scatter = sum(hole * value.numel() for hole, value in zip(holes, matrices, strict=True)) / total
    if scatter > SCATTERED and not grid and _gap(tensors, rounding) > GAP:
        evidence = (
            f"{zeros:.0%} of the values are exactly 0 and no value is close to 0: the smallest ones were removed."
        )
        return SignFact("pruned", True, 0.95, evidence, 1 - zeros)
    if zeros > 0.01:
        evidence = f"{zeros:.0%} of the values are exactly 0, but inactive units and rounding explain them."
        return SignFact("pruned", False, 0.8, evidence)
    return SignFact("pruned", False, 0.99, f"{zeros:.1%} of the values are exactly 0.")


def scattered(value: Tensor) -> float:
    """Return the share of zeros in `[n, ...]`, ignoring rows and columns that are entirely zero."""
    alive = value.flatten(1) != 0
    block = int(alive.any(1).sum()) * int(alive.any(0).sum())
    return 1 - int(alive.sum()) / block if block else 0.0


def _uniform(values: list[Tensor]) -> tuple[float, int]:
    """Return the median share of non-zero values, and the number of tensors that have it."""
    shares = [int(value.count_nonzero()) / value.numel() for value in values]
    middle = sorted(shares)[len(shares) // 2] if shares else 1.0
    near = [abs(share - middle) <= 1.5 / value.numel() + 1e-3 for share, value in zip(shares, values, strict=True)]
    return middle, sum(near)


def _gap(tensors: Mapping[str, Tensor], rounding: Mapping[str, float]) -> float:
    """Return the smallest magnitude relative to the one expected by chance (RMS / count), as a weighted median.

    The result is 0 if rounding explains the smallest magnitude.
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
