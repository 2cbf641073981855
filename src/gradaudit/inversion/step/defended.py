"""The comparison of a candidate's update with the observed one by an adversary that knows the client's defenses."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from ...protocol.defenses import Defense, in_comparing_order
from ...protocol.observation import Observation
from ...values.types import Tensors
from ..parts.part import Progress


class UnderDefenses:
    """An objective under the defenses of one observation.

    All defenses but the last are simulated (`Defense.simulate`), and the last one decides how the result is compared
    with the observed update (`Defense.mismatch`), in the order of `in_comparing_order`. Tensors that a defense makes
    useless for a comparison are zero on both sides (`Defense.compared`).

    Args:
        defenses: The defenses, as the client lists them; at least one.
        seen: The observation.
        distance: The bound objective of the attack.
    """

    def __init__(
        self,
        defenses: tuple[Defense, ...],
        seen: Observation,
        distance: Callable[[Tensors, Tensors, Progress], Tensor],
    ) -> None:
        *first, self.last = in_comparing_order(defenses)
        self.first, self.distance = tuple(first), distance
        names = list(seen.update.tensors)
        kept = reduce(lambda left, defense: list(defense.compared(seen.model, left)), defenses, names)
        self.kept = [name in kept for name in names]

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        """Return the distance between the candidate's undefended update and the observed one."""
        ours, theirs = self._kept(self._before_last(candidate, observed)), self._kept(observed)
        return self.last.mismatch(ours, theirs, lambda left, right: self.distance(left, right, at))

    def pair(self, candidate: Tensors, observed: Tensors) -> tuple[Tensors, Tensors]:
        """Return the simulated defended update and the observed one, as far as they are compared."""
        simulated = self.last.simulate(self._before_last(candidate, observed), observed)
        return self._kept(simulated), self._kept(observed)

    def _before_last(self, candidate: Tensors, observed: Tensors) -> Tensors:
        return reduce(lambda tensors, defense: defense.simulate(tensors, observed), self.first, candidate)

    def _kept(self, tensors: Tensors) -> Tensors:
        if all(self.kept):
            return tensors
        pairs = zip(tensors, self.kept, strict=True)
        return tuple(t if keep else _zeros(t) for t, keep in pairs)


def _zeros(tensor: Tensor) -> Tensor:
    """Return zeros that keep their graph, because some optimisers differentiate every tensor by itself."""
    return tensor.masked_fill(torch.ones_like(tensor, dtype=torch.bool), 0)
