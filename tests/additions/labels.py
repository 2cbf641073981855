"""Labels by a blind guess."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradaudit import Knowledge
from gradaudit.inversion.parts.labels import LabelInference
from gradaudit.inversion.parts.labels.known import Labels


@dataclass(frozen=True)
class AlwaysFirst(LabelInference):
    """Every example is of class 0."""

    name: ClassVar[str] = "first-class"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def read(self, seen):
        """Return zeros `[B]`."""
        return Labels(torch.zeros(seen.batch_size, dtype=torch.long))
