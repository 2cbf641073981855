"""The labels of a run, and the base class of label inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...protocol.local_training import rules_of
from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import LossFunction
from .part import Part


@dataclass
class Labels:
    """The labels of a run, or the result of a label inference.

    `L` is the batch size, or less if fewer labels were found.

    Args:
        values: `[L]` integers, ascending if they were inferred, or `[S, B, K]` logits if they are optimised together
            with the inputs.
        granted: Whether the labels were granted to the adversary.
        counts: `[K]` integers, examples per class; `None` if the method says only which classes are present.
        soft: `[B, K]` probabilities, if the labels are not one-hot; an attack then matches with these.
        confidence: In [0, 1], how well the method's own equations hold; `None` if it has no such measure.
        notes: Sentences about what was found and what was not.
    """

    values: Tensor
    granted: bool = False
    counts: Tensor | None = None
    soft: Tensor | None = None
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def trainable(self) -> bool:
        """Whether the loop optimises the labels."""
        return self.values.is_floating_point() and not self.granted

    def of(self, seed: int) -> Tensor:
        """Return the labels that enter the loss: `[B]` integers, `[B, K]` logits, or the granted labels `[B, ...]`."""
        if self.soft is not None:
            return self.soft.clamp_min(torch.finfo(self.soft.dtype).tiny).log()
        return self.values[seed] if self.trainable else self.values

    @staticmethod
    def target(values: Tensor, loss: LossFunction) -> Tensor:
        """Return the labels in the form the loss takes: class logits as probabilities, all other labels unchanged."""
        return values.softmax(-1) if values.is_floating_point() and rules_of(loss).inferable else values

    def decide(self, seed: int) -> Tensor:
        """Return `[B]` integers, or the granted labels `[B, ...]`."""
        return self.of(seed).argmax(-1) if self.trainable else self.values

    def require(self, batch_size: int | None, part: Part) -> Labels:
        """Return the labels. Raise `AttackFailed` if there are fewer of them than `batch_size` examples."""
        found = self.values.shape[-2] if self.trainable else len(self.values)
        if batch_size is not None and found != batch_size:
            raise AttackFailed(
                f"{part!r} found {found} of {batch_size} labels, and an attack needs all of them. Choose a label "
                "inference that counts (bias-counts, ilrg, llg), or grant LABELS."
            )
        return self


class LabelInference(Part):
    """The source of an attack's labels: `read` infers them from the update, `infer` returns those an attack may use.

    A subclass that infers nothing from the update implements `infer` alone. `infers` is false if the labels are
    granted.
    """

    infers: ClassVar[bool] = True

    def read(self, seen: Observation) -> Labels:
        """Return the labels that the update reveals, possibly fewer than examples.

        Raise `AttackFailed` with the reason if it reveals none.
        """
        raise AttackFailed(f"{self!r} infers nothing from the update: its labels are optimised with the inputs.")

    def infer(self, seen: Observation, seeds: int) -> Labels:
        """Return the labels of the whole batch for `seeds` candidates.

        Raise `AttackFailed` if `read` raises it or finds fewer labels than the batch has examples.
        """
        return self.read(seen).require(seen.batch_size, self)
