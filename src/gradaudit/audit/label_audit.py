"""Label inference alone: the labels that each method infers from a client's updates, scored against the true ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .. import metrics
from ..inversion.parts.labels import LABELS
from ..inversion.run.label_reading import read_labels
from ..protocol.local_training import rules_of
from ..protocol.observation import Observation
from ..values.errors import AuditError
from ..values.validation import suggest
from .attempt import attack_seed
from .plan import Plan

METHODS = tuple(name for name in LABELS if name not in ("known", "joint"))
"""The methods that infer labels from an update, without an attack."""

MEASURES = {
    "existence": metrics.class_existence_accuracy,
    "counts": metrics.count_accuracy,
    "recall": metrics.instance_recall,
    "error": metrics.count_error,
}


@dataclass(frozen=True)
class MethodResult:
    """The scores of one label inference method over all batches.

    Args:
        name: One of `METHODS`.
        scores: Measure -> one value for each batch to which the method applies.
        why_not: The reason if it applies to no batch.
        notes: The notes of the method on its inferences, each sentence once.
    """

    name: str
    scores: Mapping[str, tuple[float, ...]]
    why_not: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def applies(self) -> bool:
        """Whether the method applied to at least one batch."""
        return bool(self.scores["recall"])

    def to_json(self) -> dict[str, Any]:
        """Return `{"name", "existence", "counts", "recall", "error", "applies", "why_not", "notes"}`."""
        shown = {measure: interval(values) for measure, values in self.scores.items()}
        why_not = None if self.applies else self.why_not
        return {"name": self.name, **shown, "applies": self.applies, "why_not": why_not, "notes": list(self.notes)}


def interval(values: Sequence[float]) -> dict[str, float | int | None] | None:
    """Return the mean with its 95 % interval as JSON: no bounds for a single value, `None` for no value."""
    if not values:
        return None
    found = metrics.mean_interval(values)
    low, high = (None if math.isnan(bound) else bound for bound in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}


def chosen_methods(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the named methods, or all methods by default. Raise `AuditError` if a name is unknown."""
    for name in names or ():
        if name not in METHODS:
            raise AuditError(f"--method {name}: unknown method{suggest(name, METHODS)}")
    return tuple(names) if names else METHODS


def score_methods(
    seen: Observation, labels: torch.Tensor, methods: Sequence[str], seed: int
) -> dict[str, dict[str, Any]]:
    """Return method -> its measures on one update, or `{"why_not": reason}` if it does not apply, and its `notes`."""
    truth = torch.bincount(labels.cpu(), minlength=seen.classes)
    found: dict[str, dict[str, Any]] = {}
    for name in methods:
        reading = read_labels(name, seen, seed=seed)
        tally = reading.tally
        if tally is None:
            found[name] = {"why_not": reading.why_not, "notes": reading.notes}
        else:
            scores = {measure: function(tally.cpu(), truth) for measure, function in MEASURES.items()}
            found[name] = {**scores, "notes": reading.notes}
    return found


def audit_labels(plan: Plan, methods: Sequence[str]) -> list[MethodResult]:
    """Run every method on every batch of the plan, and return the result of each method.

    Raises:
        AuditError: The client's loss has no logit for each class, or the client cannot train on a batch.
    """
    if not rules_of(plan.client.training.loss).inferable:
        raise AuditError(
            f"training.loss: under {plan.client.training.loss!r} no label can be inferred, as its output has no "
            "logit for each class. Choose training.loss: cross-entropy, or audit the attacks with LABELS granted."
        )
    readings: list[dict[str, dict[str, Any]]] = []
    for repeat, batch in enumerate(plan.batches()):
        seed = plan.chance(repeat)
        seen = plan.client.share(batch, plan.config.granted, seed=seed, public=plan.public)
        readings.append(score_methods(seen, batch.labels, methods, attack_seed(seed)))
    return [_collect(name, [reading[name] for reading in readings]) for name in methods]


def _collect(name: str, readings: Sequence[Mapping[str, Any]]) -> MethodResult:
    scores = {measure: tuple(r[measure] for r in readings if measure in r) for measure in MEASURES}
    reasons = [reading["why_not"] for reading in readings if "why_not" in reading]
    notes = dict.fromkeys(note for reading in readings for note in reading["notes"])
    return MethodResult(name, scores, reasons[0] if reasons else None, tuple(notes))
