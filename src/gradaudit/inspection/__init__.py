"""What an update, or an architecture alone, reveals without any attack, in seconds: pure functions to a value."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ..capture import Captured, FileKind, agreed_steps
from ..protocol.observation import Observation
from ..values.types import UpdateKind
from . import fact_sentences as words
from .architecture import Architecture, BatchRisk, LayerRisk
from .batch_facts import batch_risk
from .facts import BatchNormFacts, Contents, Inspection, LabelFacts, LayerFacts, Reading, SignFact
from .grids import HALVES, half_precision
from .label_facts import read_or_why_not
from .layers import SINGLE, layer_facts
from .signs import signs
from .static_risk import require_trainable, static_risk

__all__ = [
    "Architecture",
    "BatchNormFacts",
    "BatchRisk",
    "Contents",
    "Inspection",
    "LabelFacts",
    "LayerFacts",
    "LayerRisk",
    "Reading",
    "SignFact",
    "batch_risk",
    "inspect",
    "require_trainable",
    "static_risk",
]


def inspect(captured: Captured, *, model: str = "", weights: str = "") -> Inspection:
    """Return what an update reveals without an attack.

    Args:
        captured: The update with its model.
        model: Name of the model to show; by default the name of its class.
        weights: Name of the file of its weights, or an empty string.
    """
    seen = captured.observation
    facts = Inspection(
        file=captured.file,
        model=model or type(seen.model).__name__,
        weights=weights,
        holds=captured.holds.value,
        notes=captured.notes,
        contents=_contents(captured),
        batch_norm=_batch_norm(captured),
        labels=None,
        layers=(),
        signs=(),
        least_examples=None,
        local_steps=captured.local_steps,
        unjudged=captured.empty,
    )
    return words.told(facts if captured.empty else _looked(facts, captured), seen)


def _looked(facts: Inspection, captured: Captured) -> Inspection:
    """Return `facts` completed for an update that is not empty."""
    seen = captured.observation
    halves = half_precision(seen.update.tensors, captured.stored)
    layers = layer_facts(seen, torch.finfo(HALVES[halves]).eps if halves else SINGLE, captured.local_steps == 1)
    facts = replace(facts, layers=layers, signs=signs(seen, layers, captured.stored))
    coarse = not halves or captured.holds is FileKind.WEIGHTS  # rounded weights differ by few rounding steps, or none
    if facts.disturbed and coarse:  # equal rows are then an effect of the defense
        facts = replace(facts, layers=tuple(replace(layer, recovered=0, in_memory=None) for layer in layers))
    least = max((layer.rank for layer in layers if layer.per_example), default=0) or None
    estimate = None if facts.disturbed else _batch_size(seen, layers, captured.local_steps)
    size = seen.batch_size if seen.batch_size is not None else estimate
    labels, unjudged = read_or_why_not(seen, size, captured.undirected, facts.signs)
    doubts = _doubts(seen, least if not facts.disturbed and captured.local_steps == 1 else None)
    return replace(
        facts,
        notes=(*facts.notes, *doubts),
        labels=labels,
        unjudged=unjudged,
        least_examples=None if facts.disturbed or (captured.local_steps or 2) > 1 else least,
    )


def _batch_size(seen: Observation, layers: tuple[LayerFacts, ...], steps: int | None) -> int | None:
    """Return the rank of the gradient of one step as the batch size, if the shape of the layer allows a larger rank."""
    if seen.update.kind is not UpdateKind.GRADIENT and steps != 1:
        return None
    if not all(layer.clear for layer in layers if layer.per_example):
        return None
    loose = [layer.rank for layer in layers if layer.per_example and layer.rank and not layer.saturated]
    tight = [layer.rank for layer in layers if layer.per_example and layer.saturated]
    if not loose or any(rank > max(loose) for rank in tight):
        return None
    return max(loose)


def _doubts(seen: Observation, least: int | None) -> tuple[str, ...]:
    """Return notes on contradictions."""
    notes = []
    if least is not None and seen.batch_size is not None and least > seen.batch_size:
        notes.append(
            f"A gradient of rank {least} requires {least} examples, but the given batch size is {seen.batch_size}."
        )
    return tuple(notes)


def _contents(captured: Captured) -> Contents:
    seen = captured.observation
    trained = {name: value for name, value in seen.model.named_parameters() if value.requires_grad}
    shared = seen.update.tensors
    values = sum(value.numel() for value in shared.values())
    precisions = list(captured.stored.values())
    return Contents(
        tensors={name: tuple(value.shape) for name, value in shared.items()},
        trainable=len(trained),
        share=values / max(1, sum(value.numel() for value in trained.values())),
        values=values,
        unshared=captured.unshared,
        buffers={name: tuple(value.shape) for name, value in (seen.update.buffers or {}).items()},
        model_buffers=len(list(seen.model.buffers())),
        length=sum(float(value.double().square().sum()) for value in shared.values()) ** 0.5,
        precision=tuple(sorted(set(precisions), key=precisions.count, reverse=True)),
    )


def _batch_norm(captured: Captured) -> BatchNormFacts | None:
    seen, moved = captured.observation, captured.movements
    layers = [module for module in seen.model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return None
    steps = agreed_steps(moved)
    momenta = {entry.momentum for entry in moved}
    shifted = [entry for entry in moved if entry.shift > 0]
    if not any(entry.mean is not None for entry in moved):
        statistics = "absent"
    elif not shifted:
        statistics = "unmoved"
    else:
        statistics = "exact" if steps == 1 else "averaged"
    return BatchNormFacts(
        layers=len(layers),
        travelling=len(moved),
        mode=seen.batch_norm,
        steps=steps,
        counted=tuple(sorted({entry.steps for entry in moved if entry.steps is not None})),
        statistics=statistics,
        channels=sum(len(entry.mean) for entry in shifted if entry.mean is not None),
        momentum=momenta.pop() if len(momenta) == 1 else None,
    )
