"""The results of an inspection: frozen values of plain numbers and strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor

from ..client.model_check import ModelCheck

IN_MEMORY = "in_memory"


@dataclass(frozen=True)
class Contents:
    """The tensors and buffers of an update.

    Args:
        tensors: Names of the shared parameters with their shapes, in the model's order.
        trainable: Number of the model's trainable parameters (tensors).
        share: Share of the model's trainable values, in [0, 1].
        values: Number of shared values.
        unshared: Names of trainable parameters that were not sent.
        buffers: Names of the shared buffers with their shapes.
        model_buffers: Number of the model's buffers.
        length: L2 norm of all tensors together.
        precision: Precisions of the file, most frequent first.
    """

    tensors: Mapping[str, tuple[int, ...]]
    trainable: int
    share: float
    values: int
    unshared: tuple[str, ...]
    buffers: Mapping[str, tuple[int, ...]]
    model_buffers: int
    length: float
    precision: tuple[str, ...]


@dataclass(frozen=True)
class BatchNormFacts:
    """What the buffers of BatchNorm reveal.

    Args:
        layers: Number of BatchNorm layers of the model.
        travelling: Number of those whose buffers were sent.
        mode: `"train"` or `"eval"`, as detected or given.
        steps: Number of local steps if all counters agree, else `None`.
        counted: All numbers of steps that the counters show.
        statistics: `"exact"`, `"averaged"` over several steps, `"unmoved"`, or `"absent"`.
        channels: Number of channels with batch statistics.
        momentum: Momentum of the layers if they agree, else `None`.
    """

    layers: int
    travelling: int
    mode: str
    steps: int | None
    counted: tuple[int, ...]
    statistics: str
    channels: int
    momentum: float | None


@dataclass(frozen=True)
class Reading:
    """The result of one label inference.

    Args:
        method: Name of the label inference.
        applies: Whether it could be used.
        says: `"counts"`, `"classes"` or `"soft labels"`; `None` if it does not apply.
        counts: Class -> number of examples (1 for a method that only finds which classes are present).
        confidence: In [0, 1], by the method's own measure.
        lacks: Flags of the facts that it needs and that are unknown.
        why_not: Reason if it does not apply.
        notes: Remarks of the method.
    """

    method: str
    applies: bool
    says: str | None = None
    counts: Mapping[int, float] = field(default_factory=dict)
    confidence: float | None = None
    lacks: tuple[str, ...] = ()
    why_not: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelFacts:
    """The results of all label inferences, and their consensus.

    Args:
        classes: Number of classes, K.
        batch_size: The batch size that the methods used, or `None`.
        batch_size_read: Whether it was derived from the rank of a layer's gradient instead of given.
        readings: One result per method.
        consensus: Class -> number of examples: the answer that agrees most with all others.
        agreement: Mean share of labels that the methods have in common with the consensus, in [0, 1].
        agreeing: Number of methods that give exactly the consensus (for sets: its classes).
        applying: Number of methods that apply.
        repeats: Whether it is known how often a class occurs, and not only that it occurs.
    """

    classes: int
    batch_size: int | None
    batch_size_read: bool
    readings: tuple[Reading, ...]
    consensus: Mapping[int, int]
    agreement: float
    agreeing: int
    applying: int
    repeats: bool


@dataclass(frozen=True)
class LayerFacts:
    """One linear layer of the update.

    Args:
        name: Name in the model.
        shape: (outputs, inputs).
        bias: Whether the gradient of its bias was sent, so that the ratio of weight to bias gradient exists.
        takes_example: Whether its input is the private example itself.
        rank: Numerical rank of its gradient: at least that many examples (tokens, where `per_example` is false).
        limit: The largest rank that the shape allows.
        clear: Whether the rank is sharp: the singular values drop there, or it is the limit.
        per_example: Whether the layer runs once per example, and not once per token.
        recovered: Number of inputs of the layer that can be read off exactly.
        in_memory: These inputs, `[recovered, inputs]`, or `None` if this was not checked; not part of the JSON.
    """

    name: str
    shape: tuple[int, int]
    bias: bool
    takes_example: bool
    rank: int
    limit: int
    clear: bool
    per_example: bool
    recovered: int
    in_memory: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def saturated(self) -> bool:
        """Whether the rank is the largest that the shape allows, so that it is no upper bound of the batch size."""
        return self.rank >= self.limit


@dataclass(frozen=True)
class SignFact:
    """Evidence for one kind of defense.

    Args:
        defense: `"clipped"`, `"pruned"`, `"quantised"` or `"noised"`.
        found: Whether the evidence indicates it; `None` if undecidable.
        confidence: Confidence in `found`, in [0, 1].
        evidence: One sentence.
        value: The estimated parameter: norm, share kept, number of levels, standard deviation.
        other_loss: For `"noised"`: whether the loss was not cross-entropy, which all label inferences assume.
    """

    defense: str
    found: bool | None
    confidence: float
    evidence: str
    value: float | None = None
    other_loss: bool = False


@dataclass(frozen=True)
class Inspection:
    """All results of an inspection; `to_json` returns the same as plain data.

    Args:
        file: Name of the file.
        model: Name of the model.
        weights: Name of the file of the weights, or an empty string for the model's own.
        holds: `"gradient"`, `"weight-difference"` or `"weights"`.
        notes: Sentences on how the file was interpreted.
        contents: The tensors and buffers.
        batch_norm: `None` for a model without BatchNorm.
        labels: Results of the label inferences; `None` if none ran, with the reason in `unjudged`.
        layers: Linear layers, in the model's order.
        signs: Signs of a defense.
        least_examples: Lower bound of the batch size from a rank, or `None`.
        local_steps: Number of local steps, as given or read from the counters, or `None`.
        unjudged: Why no labels are stated, without a full stop, so that severity 0 is not an all-clear; or empty.
        verdict: The result in one sentence.
        leaks: Sentences on what is known without an attack, worst first.
        looked_for: Sentences on the checks that ran, whatever they found.
        not_looked_for: Sentences on the checks that did not run, with the reasons.
        open: Sentences on what an attacker would still need.
        severity: 2 for a private example, 1 for facts about the batch, 0 for neither.
        received: What the detectors find in the weights that the server sent, or `None` without their file.
    """

    file: str
    model: str
    weights: str
    holds: str
    notes: tuple[str, ...]
    contents: Contents
    batch_norm: BatchNormFacts | None
    labels: LabelFacts | None
    layers: tuple[LayerFacts, ...]
    signs: tuple[SignFact, ...]
    least_examples: int | None
    local_steps: int | None
    unjudged: str = ""
    verdict: str = ""
    leaks: tuple[str, ...] = ()
    looked_for: tuple[str, ...] = ()
    not_looked_for: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    severity: int = 0
    received: ModelCheck | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`: without NaN and infinity, and with strings as keys."""
        return {**plain(self), "received": None if self.received is None else self.received.to_json()}

    @property
    def disturbed(self) -> str:
        """Name of a detected defense that changes single values, such as `"pruned"`, or an empty string."""
        return next((sign.defense for sign in self.signs if sign.found and sign.defense != "clipped"), "")

    @property
    def no_defense(self) -> bool:
        """Whether no sign of a defense was found; signs that are undecidable do not count."""
        return not any(sign.found for sign in self.signs)


def plain(value: Any) -> Any:
    """Return plain data for `json.dumps`; NaN and infinity become `None`, and tensors in memory are left out."""
    if is_dataclass(value):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value) if entry.name != IN_MEMORY}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
