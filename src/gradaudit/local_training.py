"""Local training, written once: the client runs it, and the adversary differentiates through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from .errors import AuditError
from .types import Loss, Tensors, UpdateKind

BatchNormMode = Literal["eval", "train"]


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross entropy of `[B, K]` logits against `[B]` integer labels or `[B, K]` probabilities."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels)


@dataclass(frozen=True)
class LocalTraining:
    """How a client turns a batch into an update: local SGD, as one differentiable function.

    Without a learning rate the client takes one step on the whole batch and shares its gradient (FedSGD). With one, it
    runs `epochs` over minibatches in the order of the batch and shares `θ_before - θ_after` (FedAvg; McMahan et al.,
    2017, algorithm 1), which has the sign of a gradient.

    Only BatchNorm layers are ever in training mode; dropout is off.

    Args:
        loss: `(logits [B, K], labels) -> scalar`, the mean over the examples.
        epochs: Passes over the batch, at least 1.
        minibatch_size: Examples per step; `None` takes the whole batch. The last minibatch may be smaller.
        learning_rate: Of local SGD, positive; `None` for FedSGD.
        momentum: Of local SGD, in [0, 1), as `torch.optim.SGD` defines it.
        batch_norm: `"eval"` normalises with the running statistics, `"train"` with those of the minibatch.

    Raises:
        AuditError: A value is out of range, or several steps were asked for without a learning rate.
    """

    loss: Loss = field(default_factory=CrossEntropy)
    epochs: int = 1
    minibatch_size: int | None = None
    learning_rate: float | None = None
    momentum: float = 0.0
    batch_norm: BatchNormMode = "eval"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise AuditError(f"training: epochs must be at least 1. Found {self.epochs}.")
        if self.minibatch_size is not None and self.minibatch_size < 1:
            raise AuditError(f"training: minibatch_size must be at least 1. Found {self.minibatch_size}.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise AuditError(f"training: learning_rate must be positive. Found {self.learning_rate}.")
        if not 0 <= self.momentum < 1:
            raise AuditError(f"training: momentum must be in [0, 1). Found {self.momentum}.")
        if self.batch_norm not in ("eval", "train"):
            raise AuditError(f"training: batch_norm must be eval or train. Found {self.batch_norm}.")
        if self.learning_rate is None and (self.epochs, self.minibatch_size, self.momentum) != (1, None, 0.0):
            raise AuditError("training: several local steps need a learning_rate (FedSGD shares one gradient).")

    @property
    def kind(self) -> UpdateKind:
        """What the client shares."""
        return UpdateKind.GRADIENT if self.learning_rate is None else UpdateKind.WEIGHT_DIFFERENCE

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, *, differentiable: bool = False) -> Tensors:
        """The update that training `model` on the batch gives; the model stays as it is.

        Args:
            model: Starting point; its trainable parameters, in their order, are what the update is about.
            inputs: `[B, C, H, W]`, normalised.
            labels: `[B]` integers, or `[B, K]` probabilities.
            differentiable: Keep the graph from `inputs` and `labels` to the update.

        Returns:
            One tensor per trainable parameter.
        """
        return self.train(model, inputs, labels, differentiable=differentiable)[0]

    def train(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, *, differentiable: bool = False
    ) -> tuple[Tensors, Mapping[str, Tensor]]:
        """As calling it, and the model's buffers after the training beside the update."""
        names, start = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
        parameters: Tensors = tuple(p.detach().requires_grad_() for p in start)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        velocity: Tensors | None = None
        with torch.enable_grad(), batch_norm_mode(model, self.batch_norm):
            for x, y in self._minibatches(inputs, labels):
                logits = functional_call(model, (dict(zip(names, parameters, strict=True)), buffers), (x,))
                gradient = torch.autograd.grad(
                    self.loss(logits, y),
                    parameters,
                    create_graph=differentiable,
                    allow_unused=True,
                    materialize_grads=True,
                )
                if self.learning_rate is None:
                    return gradient, buffers
                velocity = self._velocity(velocity, gradient)
                parameters = tuple(p - self.learning_rate * v for p, v in zip(parameters, velocity, strict=True))
                if not differentiable:
                    parameters = tuple(p.detach().requires_grad_() for p in parameters)
        difference = tuple(a.detach() - b for a, b in zip(start, parameters, strict=True))
        return (difference if differentiable else tuple(d.detach() for d in difference)), buffers

    def _minibatches(self, inputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        size = self.minibatch_size or len(inputs)
        for _ in range(self.epochs):
            yield from zip(inputs.split(size), labels.split(size), strict=True)

    def _velocity(self, velocity: Tensors | None, gradient: Tensors) -> Tensors:
        if velocity is None or self.momentum == 0:
            return gradient
        return tuple(self.momentum * v + g for v, g in zip(velocity, gradient, strict=True))


def FedSGD(loss: Loss | None = None, *, batch_norm: BatchNormMode = "eval") -> LocalTraining:  # noqa: N802
    """One step on the whole batch; the client shares its gradient."""
    return LocalTraining(loss=loss or CrossEntropy(), batch_norm=batch_norm)


def FedAvg(  # noqa: N802
    loss: Loss | None = None,
    *,
    learning_rate: float,
    epochs: int = 1,
    minibatch_size: int | None = None,
    momentum: float = 0.0,
    batch_norm: BatchNormMode = "eval",
) -> LocalTraining:
    """Several local steps; the client shares the difference of the weights (McMahan et al., 2017)."""
    return LocalTraining(loss or CrossEntropy(), epochs, minibatch_size, learning_rate, momentum, batch_norm)


@contextmanager
def batch_norm_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """Put every layer in evaluation mode, BatchNorm in `mode`, and restore what was there."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = mode == "train" and isinstance(module, _BatchNorm)
        yield
    finally:
        for module, was in before:
            module.training = was


class InMode:
    """A model as its client trains it, for many passes: a context that looks up only once what it must change.

    Every layer is in evaluation mode, BatchNorm in `mode`; what the passes write into buffers, as BatchNorm does when
    it trains, is undone.

    Args:
        model: Whose parameters the passes use as they are.
        mode: `"eval"` or `"train"`.
    """

    def __init__(self, model: nn.Module, mode: str) -> None:
        train = mode == "train"
        self.modules = [(module, train and isinstance(module, _BatchNorm)) for module in model.modules()]
        self.buffers = [
            (module, name)
            for module, trains in self.modules
            if trains or not isinstance(module, _BatchNorm)
            for name, _ in module.named_buffers(recurse=False)
        ]
        self.changed: list[nn.Module] = []
        self.held: list[Tensor] = []

    def __enter__(self) -> None:
        self.changed = [module for module, trains in self.modules if module.training != trains]
        for module in self.changed:
            module.training = not module.training
        self.held = [getattr(module, name) for module, name in self.buffers]
        for (module, name), buffer in zip(self.buffers, self.held, strict=True):
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for (module, name), buffer in zip(self.buffers, self.held, strict=True):
            setattr(module, name, buffer)
        for module in self.changed:
            module.training = not module.training
