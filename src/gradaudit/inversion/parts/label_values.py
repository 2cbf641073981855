"""Labels during a run, and the parts that read them off an update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...client.local_training import rules_of
from ...client.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import LossFunction
from .part import Part


@dataclass
class Labels:
    """Labels during a run, or what a label inference read; `L` is the batch size, or less where less was found.

    Args:
        values: `[L]` integers, ascending where they were inferred, or `[S, B, K]` logits where they are optimised
            together with the inputs.
        granted: They were handed to the adversary.
        counts: `[K]` integers, examples per class; `None` where the method says only which classes are present.
        soft: `[B, K]` probabilities, where the labels are not one-hot; an attack then matches with these.
        confidence: In [0, 1], how well the method's own equations hold; `None` where it has no such measure.
        notes: Plain sentences about what was found and what was not.
    """

    values: Tensor
    granted: bool = False
    counts: Tensor | None = None
    soft: Tensor | None = None
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def trainable(self) -> bool:
        """Whether the loop optimises them."""
        return self.values.is_floating_point() and not self.granted

    def of(self, seed: int) -> Tensor:
        """What the loop differentiates: `[B]` integers, `[B, K]` logits, or whatever labels `[B, ...]` were granted."""
        if self.soft is not None:
            return self.soft.clamp_min(torch.finfo(self.soft.dtype).tiny).log()
        return self.values[seed] if self.trainable else self.values

    @staticmethod
    def target(values: Tensor, loss: LossFunction) -> Tensor:
        """What the loss takes: logits of classes as probabilities, all other labels as they are."""
        return values.softmax(-1) if values.is_floating_point() and rules_of(loss).inferable else values

    def decide(self, seed: int) -> Tensor:
        """`[B]` integers, or the granted labels `[B, ...]`."""
        return self.of(seed).argmax(-1) if self.trainable else self.values

    def require(self, batch_size: int | None, part: Part) -> Labels:
        """Itself; raises `AttackFailed` where an attack on `batch_size` examples would lack labels."""
        found = self.values.shape[-2] if self.trainable else len(self.values)
        if batch_size is not None and found != batch_size:
            raise AttackFailed(
                f"{part!r} found {found} of {batch_size} labels, and an attack needs all of them. Take a label "
                "inference that counts (bias-counts, ilrg, llg), or grant LABELS."
            )
        return self


class LabelInference(Part):
    """Where labels come from: `read` says what it finds, `infer` what an attack may use.

    One that reads nothing off the update implements `infer` alone; `infers` is false for the one that is handed them.
    """

    infers: ClassVar[bool] = True

    def read(self, seen: Observation) -> Labels:
        """What the update gives away, possibly fewer labels than examples; raises `AttackFailed` saying why nothing."""
        raise AttackFailed(f"{self!r} reads nothing off the update: its labels are optimised with the pictures.")

    def infer(self, seen: Observation, seeds: int) -> Labels:
        """The labels of the whole batch for `seeds` guesses; raises `AttackFailed` where `read` does or finds fewer."""
        return self.read(seen).require(seen.batch_size, self)
