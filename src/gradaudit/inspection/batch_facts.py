"""What a given batch shows about each layer: units that one example activates alone, and the D-SNR of its weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from ..client.detectors._example_gradients import d_snr
from ..values.errors import AuditError, guarded
from .architecture import BatchRisk, LayerOnBatch
from .giveaways import is_sole, per_example, share_off, takes_example
from .tracing import LayerPass, ModelTrace, trace

MIXED = "Measured in evaluation mode: BatchNorm in training mode lets every example of the batch reach every unit."
ASSUMED = "The data has no classes: for the D-SNR, the labels 0, 1, 2, ... were assumed."


def batch_risk(model: nn.Module, inputs: Tensor, labels: Tensor | None, data: str = "a batch") -> BatchRisk:
    """Return what a batch shows, in evaluation mode.

    A unit that exactly one example activates has the quotient of weight and bias gradient of that example: its input of
    the layer leaves exactly. "Activates" means that the model's output depends on the unit, whatever the activation.

    Args:
        model: The model, as `runnable` returns it.
        inputs: `[B, ...]`.
        labels: `[B]` classes; `None` assumes 0, 1, 2, ...
        data: The data in words.

    Raises:
        AuditError: The model cannot take the batch, or a label is not one of its classes.
    """
    traced = trace(model, inputs)
    signal, notes = _signals(traced, labels)
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        notes = (*notes, MIXED)
    layers = tuple(_on_batch(layer, traced, signal) for layer in traced.layers if layer.inputs)
    first = {layer.name for layer in traced.layers if _reveals(layer, inputs)}
    exact = sorted({example for layer in layers if layer.name in first for example in layer.examples})
    return BatchRisk(data, len(inputs), layers, tuple(exact) if first else None, notes)


def _reveals(layer: LayerPass, inputs: Tensor) -> bool:
    """Return whether the quotients of a layer's gradient are mixtures of the examples themselves."""
    complete = {"weight", "bias"} <= layer.trained.keys()
    return complete and per_example(layer, len(inputs)) and takes_example(layer, inputs) and is_sole(layer)


def _on_batch(layer: LayerPass, traced: ModelTrace, signal: dict[str, Tensor]) -> LayerOnBatch:
    weight = next((layer.path(name) for name, value in layer.trained.items() if value.ndim > 1), None)
    ratio = d_snr(signal[weight]) if weight in signal else None
    if not per_example(layer, len(traced.inputs)):
        return LayerOnBatch(layer.name, None, None, (), ratio)
    active = layer.slopes[0] != 0  # [B, m]
    if not share_off(layer):
        return LayerOnBatch(layer.name, active.shape[1], None, (), ratio)
    alone = active.sum(0) == 1
    examples = active[:, alone].any(1).nonzero().flatten().tolist()
    return LayerOnBatch(layer.name, active.shape[1], int(alone.sum()), tuple(examples), ratio)


def _signals(traced: ModelTrace, labels: Tensor | None) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the norm of each example's gradient, `[B]` by name of the weight, and notes."""
    model, logits = traced.model, traced.output
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return {}, ("D-SNR was not measured: the model does not return logits [B, K].",)
    notes: tuple[str, ...] = ()
    classes = max(2, logits.shape[1])
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        labels, notes = torch.arange(len(traced.inputs)) % classes, (ASSUMED,)
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        low, high = int(labels.min()), int(labels.max())
        raise AuditError(f"--data: its labels run from {low} to {high}, but the model has {classes} classes.")
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad and value.ndim > 1}
    norms: dict[str, list[float]] = {name: [] for name in weights}
    for example in range(len(labels)):
        inputs, label = traced.inputs[example : example + 1].clone(), labels[example : example + 1]
        with torch.enable_grad(), guarded("model: it cannot take one example of --data"):
            loss = _loss(model(inputs), label)
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, found, strict=True):
            norms[name].append(0.0 if gradient is None else float(gradient.norm()))
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in norms.items()}, notes


def _loss(logits: Tensor, label: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return binary_cross_entropy_with_logits(logits[:, 0], label.to(logits))
    return cross_entropy(logits, label)
