"""Pixels as the hyperbolic tangent of free numbers."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradaudit import Knowledge
from gradaudit.inversion.parts.parametrisations import Parametrisation
from gradaudit.inversion.parts.parametrisations.pixels import Candidate


@dataclass(frozen=True)
class Squashed(Parametrisation):
    """x = tanh(w)."""

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def start(self, seen, seeds, previous):
        """Return the first candidate, near zero."""
        return _SquashedCandidate(torch.randn(seeds, seen.batch_size, *seen.input_shape, device=seen.device))


class _SquashedCandidate(Candidate):
    def __init__(self, numbers):
        self.variables = {"numbers": numbers.requires_grad_()}

    def decode(self):
        return self.variables["numbers"].tanh()
