"""Labels optimised together with the inputs (DLG; Zhu et al., 2019, algorithm 1)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ....client.observation import Observation
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size


@dataclass(frozen=True)
class JointLabels(LabelInference):
    """A trainable leaf of logits `[S, B, K]` from N(0, 1); the loss sees their softmax, the result their maximum."""

    name: ClassVar[str] = "joint"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def infer(self, seen: Observation, seeds: int) -> Labels:
        """The leaf."""
        like = seen.update.values[0]
        shape = (seeds, require_batch_size(seen, self), seen.classes)
        return Labels(torch.randn(shape, device=like.device, dtype=like.dtype))
