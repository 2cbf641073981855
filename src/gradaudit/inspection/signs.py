"""Signs that a defense leaves in an update: a round norm, missing values, a grid, sums that should vanish.

Each sign is evidence, not proof: an undefended update rarely has it, and a defense may leave none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..protocol.observation import Observation
from .facts import LayerFacts, SignFact
from .grids import quantised
from .layers import resolution
from .sums import noised
from .zeros import pruned

ROUND = ((9, 1e-4), (90, 1e-5))  # numbers of one and two digits, with the relative distance that counts as equal
PILE = 8  # number of values with exactly the largest magnitude that indicates clamping


def signs(seen: Observation, layers: Sequence[LayerFacts], stored: Mapping[str, str]) -> tuple[SignFact, ...]:
    """Return the signs of clipping, pruning, quantisation and noise, in this order.

    Args:
        seen: The observation.
        layers: As `layer_facts` gives them.
        stored: Name -> precision in the file.
    """
    tensors = seen.update.tensors
    own = dict(seen.model.named_parameters())
    rounding = {name: resolution(seen, own[name]) for name in tensors}
    quantised_sign = quantised(tensors, rounding, stored)
    pruned_sign = pruned(tensors, rounding, bool(quantised_sign.found))
    disturbed = next((sign.defense for sign in (pruned_sign, quantised_sign) if sign.found), "")
    noised_sign = noised(seen, layers, disturbed)
    clipped_sign = clipped(tensors, bool(quantised_sign.found))
    if (noised_sign.found or disturbed) and not clipped_sign.found:
        evidence = f"The update is {disturbed or 'noised'}, which would change a norm that it was clipped to."
        clipped_sign = SignFact("clipped", None, 0.0, evidence)
    return clipped_sign, pruned_sign, quantised_sign, noised_sign


def clipped(tensors: Mapping[str, Tensor], grid: bool = False) -> SignFact:
    """Clipped to a round L2 norm, over all tensors or for each of them, or every value clamped to one magnitude.

    Args:
        tensors: The update.
        grid: Whether the values lie on a grid, where many share the largest magnitude anyway.
    """
    lengths = [float(value.double().norm()) for value in tensors.values()]
    length = math.hypot(*lengths)
    largest = max(float(value.abs().max()) for value in tensors.values())
    pile = sum(int((value.abs() == largest).sum()) for value in tensors.values())
    if largest > 0 and pile >= PILE and not grid:
        evidence = f"{pile} values have exactly the largest magnitude, {largest:.4g}: the values were clamped to it."
        return SignFact("clipped", True, 0.99, evidence, largest)
    equal = sum(abs(entry - max(lengths)) <= 1e-5 * max(lengths) for entry in lengths)
    if equal >= 3 and length > 0:
        evidence = f"{equal} tensors have the same L2 norm, {max(lengths):.6g}: each tensor was clipped to it."
        return SignFact("clipped", True, 0.99, evidence, max(lengths))
    target, apart, chance = nearest_round(length)
    if target is None:
        evidence = f"Its L2 norm, {length:.6g}, is not a round number; a bound that is not round cannot be detected."
        return SignFact("clipped", False, 0.9, evidence)
    evidence = f"Its L2 norm is {target:g} to within {max(apart, 1e-7):.0e}; by chance 1 in {1 / chance:,.0f}."
    return SignFact("clipped", True, 1 - chance, evidence, target)


def nearest_round(length: float) -> tuple[float | None, float, float]:
    """Return the round number next to `length`, their relative distance, and the probability of that by chance.

    The number is `None` if none is close enough: numbers of one digit to a relative 1e-4, of two digits to 1e-5.
    """
    if not length > 0:
        return None, math.inf, 1.0
    decade = 10.0 ** math.floor(math.log10(length))
    for amount, near in ROUND:
        unit = decade if amount == 9 else decade / 10
        target = float(f"{round(length / unit) * unit:.12g}")
        apart = abs(length - target) / length
        if apart <= near:
            return target, apart, min(1.0, amount * 2 * max(apart, 1e-6) / math.log(10))
    return None, math.inf, 1.0
