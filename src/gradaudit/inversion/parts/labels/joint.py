"""Labels optimised together with the inputs (DLG; Zhu et al., 2019, algorithm 1)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ....protocol.observation import Observation
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size


@dataclass(frozen=True)
class JointLabels(LabelInference):
    """Trainable logits `[S, B, K]`, first drawn from N(0, 1); the loss uses their softmax, the result their argmax."""

    name: ClassVar[str] = "joint"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def infer(self, seen: Observation, seeds: int) -> Labels:
        """Return the trainable logits."""
        like = seen.update.values[0]
        shape = (seeds, require_batch_size(seen, self), seen.classes)
        return Labels(torch.randn(shape, device=like.device, dtype=like.dtype))
