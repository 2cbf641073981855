"""What an inspection says about an update: frozen values, made of plain numbers and words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor

IN_MEMORY = "in_memory"


@dataclass(frozen=True)
class Contents:
    """Which tensors and buffers travel.

    Args:
        tensors: Names of the shared parameters with their shapes, in the model's order.
        trainable: Number of the model's trainable parameters (tensors).
        share: Of the model's trainable values, in [0, 1].
        values: Number of shared values.
        unshared: Names of trainable parameters that do not travel.
        buffers: Names of the shared buffers with their shapes.
        model_buffers: Number of the model's buffers.
        length: L2 norm of all tensors together.
        precision: In which the file holds them, most frequent first.
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
    """What the buffers of BatchNorm give away.

    Args:
        layers: BatchNorm layers of the model.
        travelling: Of them, those whose buffers travel.
        mode: `"train"` or `"eval"`, as it was told.
        steps: Local steps on which all counters agree, else `None`.
        counted: Every number of steps that some counter shows.
        statistics: `"exact"`, `"averaged"` over several steps, `"unmoved"`, or `"absent"`.
        channels: Channels with batch statistics.
        momentum: Of the layers, where they agree.
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
    """One label inference.

    Args:
        method: Its name in the table of label inferences.
        applies: It could be used.
        says: `"counts"`, `"classes"` or `"soft labels"`; `None` where it does not apply.
        counts: Class -> examples (1 for a method that says only which classes are present).
        confidence: In [0, 1] by the method's own measure.
        lacks: Facts that it needs and that are not known, by flag.
        why_not: Where it does not apply.
        notes: What the method remarks.
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
    """All label inferences, and what they agree on.

    Args:
        classes: K.
        batch_size: That the methods worked with, or `None`.
        batch_size_read: It was read off the rank of a layer's gradient, not given.
        readings: One per method.
        consensus: Class -> examples: the answer that agrees most with all others.
        agreement: Mean over the methods of the share of labels that they have in common with the consensus, in [0, 1].
        agreeing: Methods that say exactly the consensus (for sets: its classes).
        applying: Methods that apply.
        repeats: How often a class occurs is known, not only that it does.
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
        name: In the model.
        shape: (outputs, inputs).
        bias: The gradient of its bias travels, so that row over bias is an input of the layer.
        takes_example: Its input is the example itself.
        rank: Numerical rank of its gradient: at least that many examples (tokens, where `per_example` is false).
        limit: The largest rank that the shape allows.
        clear: The rank is sharp: singular values drop at it, or it is the limit.
        per_example: It runs once per example, not once per token.
        recovered: Inputs of the layer that lie in the update as they are.
        in_memory: Those inputs, `[recovered, inputs]`, or `None` where none was looked for; not part of the JSON.
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
        """The rank is as large as the shape allows, so it bounds nothing from above."""
        return self.rank >= self.limit


@dataclass(frozen=True)
class SignFact:
    """Evidence for one kind of defense.

    Args:
        defense: `"clipped"`, `"pruned"`, `"quantised"` or `"noised"`.
        found: The evidence speaks for it; `None` where nothing can be said.
        confidence: In [0, 1], of `found` as it is.
        evidence: One sentence.
        value: The parameter read off: norm, share kept, levels, standard deviation.
        other_loss: Of `"noised"`: the sums are those of no cross entropy, on which all reading of labels rests.
    """

    defense: str
    found: bool | None
    confidence: float
    evidence: str
    value: float | None = None
    other_loss: bool = False


@dataclass(frozen=True)
class Inspection:
    """Everything that an inspection says; `to_json` is the same as plain data.

    Args:
        file: That was read.
        model: What to call the model.
        weights: Where the model's weights came from, or nothing for its own.
        holds: `"gradient"`, `"weight-difference"` or `"weights"`.
        notes: What was guessed on the way, in plain sentences.
        contents: What travels.
        batch_norm: `None` for a model without BatchNorm.
        labels: What the label inferences say; `None` where none was asked, as `unjudged` says.
        layers: Linear layers, in the model's order.
        signs: Of a defense.
        least_examples: Lower bound of the batch size by rank, or `None`.
        local_steps: Known or read off the counters.
        unjudged: Why no labels are stated, without a full stop, so that severity 0 is no all-clear; else nothing.
        verdict: The whole in one sentence.
        leaks: What is known without an attack, in plain sentences, worst first.
        looked_for: What was looked for, whether it was found or not, in plain sentences.
        not_looked_for: What was not, and why.
        open: What an attacker would still need or not know.
        severity: 2 an example itself, 1 facts about the batch, 0 neither.
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

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: no NaN, no infinity; keys of mappings are strings."""
        return _plain(self)

    @property
    def disturbed(self) -> str:
        """The sign of a defense that changed single values, such as `"pruned"`, or nothing."""
        return next((sign.defense for sign in self.signs if sign.found and sign.defense != "clipped"), "")

    @property
    def no_defense(self) -> bool:
        """No sign of a defense was found, where something can be said."""
        return not any(sign.found for sign in self.signs)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value) if entry.name != IN_MEMORY}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
