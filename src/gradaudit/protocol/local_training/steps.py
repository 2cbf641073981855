"""One local step: the gradient of the training loss at given parameters, and the optimiser's update of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from ...values.types import LossFunction, Tensors
from .modes import BatchNormMode, batch_norm_mode, penalised
from .rules import Moments

Rule = Callable[[Tensor, Tensor, Moments | None], tuple[Tensor, Moments | None]]
Again = Literal["gradient", "step"] | None
Given = Callable[[Callable[[Tensor, Tensor], Tensors], Tensor, Tensor], Tensors]
"""A defended gradient: `(gradient, inputs, labels) -> one tensor for each wanted parameter`."""


class OptimiserState(NamedTuple):
    """The parameters, optimiser state and buffers between two local steps.

    Args:
        parameters: One tensor for each trainable parameter, either a leaf or with its graph.
        moments: The optimiser's state of each parameter.
        buffers: Name -> buffer of the model.
    """

    parameters: Tensors
    moments: tuple[Moments | None, ...]
    buffers: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Steps:
    """The settings of all steps of one training run, without any state, so that a step can be recomputed.

    Args:
        model: The model, which is never changed.
        loss: `(logits, labels) -> scalar`.
        rule: `(parameter, gradient, moments) -> (parameter, moments)`.
        batch_norm: Mode of the BatchNorm layers.
        dropout: Whether dropout is on.
        differentiable: Whether steps keep their graph.
        again: The part of a step that is recomputed in the backward pass to save memory, if any: the gradient, or the
            whole step. For SGD the gradient is enough, because its rule is linear and stores nothing for the backward
            pass.
        noise: Whether the layers of a defense draw their random numbers.
        defended: How the client changes the gradient of every step, if it does.
    """

    model: nn.Module
    loss: LossFunction
    rule: Rule
    batch_norm: BatchNormMode
    dropout: bool
    differentiable: bool
    again: Again = None
    noise: bool = False
    defended: Given | None = None

    def start(self) -> OptimiserState:
        """Return the state of the untrained model, with each parameter as a new leaf."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        leaves = tuple(parameter.detach().requires_grad_() for parameter in trained)
        return OptimiserState(leaves, (None,) * len(leaves), dict(self.model.named_buffers()))

    def gradient(
        self, state: OptimiserState, inputs: Tensor, labels: Tensor, wanted: Tensors
    ) -> tuple[tuple[Tensor | None, ...], Mapping[str, Tensor]]:
        """Return ∂loss/∂`wanted` and the buffers after the forward pass; `None` for parameters the model does not use.

        A defended gradient is that of the whole batch after the defense, and the buffers are those of a pass over it.
        """
        if self.defended is None:
            return self._gradient(state, inputs, labels, wanted)

        found = self.defended(StepGradient(self, state, wanted), inputs, labels)
        return found, self._gradient(state, inputs, labels, wanted)[1] if state.buffers else state.buffers

    def _gradient(
        self, state: OptimiserState, inputs: Tensor, labels: Tensor, wanted: Tensors
    ) -> tuple[tuple[Tensor | None, ...], Mapping[str, Tensor]]:
        """Return ∂loss/∂`wanted` and the buffers, before any defense.

        The model gets a copy of the inputs, which it may change in place, unless the step is differentiable, in which
        case torch refuses changes in place.
        """
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        buffers = {name: buffer.clone() for name, buffer in state.buffers.items()}
        given = inputs if self.differentiable else inputs.clone()
        both = (dict(zip(names, state.parameters, strict=True)), buffers)
        mode = batch_norm_mode(self.model, self.batch_norm, dropout=self.dropout, noise=self.noise)
        with torch.enable_grad(), mode:
            loss = penalised(self.loss(functional_call(self.model, both, (given,)), labels), self.model.modules())
        return torch.autograd.grad(loss, wanted, create_graph=self.differentiable, allow_unused=True), buffers

    def each_gradient(self, state: OptimiserState, inputs: Tensor, labels: Tensor) -> Tensors:
        """Return the gradients of the loss of each example alone in all parameters, `[B, *shape]` each, in one pass.

        Raises:
            RuntimeError: The model or the loss cannot be mapped over the examples (`torch.func.vmap`).
        """
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]

        def loss(parameters: Tensors, x: Tensor, y: Tensor) -> Tensor:
            both = (dict(zip(names, parameters, strict=True)), dict(state.buffers))
            return penalised(
                self.loss(functional_call(self.model, both, (x[None].clone(),)), y[None]), self.model.modules()
            )

        start = tuple(parameter.detach() for parameter in state.parameters)
        mode = batch_norm_mode(self.model, self.batch_norm, dropout=self.dropout, noise=self.noise)
        with mode, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an operation without a batching rule is only slower
            return vmap(grad(loss), (None, 0, 0), randomness="different")(start, inputs, labels)

    def step(self, state: OptimiserState, inputs: Tensor, labels: Tensor) -> OptimiserState:
        """Return the state after one step; a parameter that the model does not use stays as it is, as in torch."""
        after: OptimiserState = self._maybe_again("step", self._step, state, inputs, labels)
        return after

    def _step(self, state: OptimiserState, inputs: Tensor, labels: Tensor) -> OptimiserState:
        gradient, buffers = self._maybe_again(
            "gradient", self.gradient, state._replace(moments=()), inputs, labels, state.parameters
        )
        parameters, moments = [], []
        with torch.set_grad_enabled(self.differentiable):
            for parameter, slope, before in zip(state.parameters, gradient, state.moments, strict=True):
                moved, remembered = (parameter, before) if slope is None else self.rule(parameter, slope, before)
                parameters.append(moved if self.differentiable else moved.detach().requires_grad_())
                moments.append(remembered)
        return OptimiserState(tuple(parameters), tuple(moments), buffers)

    def _maybe_again(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        if self.again != what:
            return call(*args)
        return checkpoint(call, *args, use_reentrant=False, preserve_rng_state=self.dropout)


@dataclass(frozen=True, eq=False)
class StepGradient:
    """The gradient of one local step as a defense calls it: over any examples, or for each example alone.

    Args:
        steps: The settings of the training run.
        state: The parameters and buffers before the step.
        wanted: The parameters of the gradient, all trained ones.
    """

    steps: Steps
    state: OptimiserState
    wanted: Tensors

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensors:
        """Return the gradient of the loss over all given examples; zeros for parameters the model does not use."""
        found = self.steps._gradient(self.state, inputs, labels, self.wanted)[0]
        return tuple(torch.zeros_like(p) if g is None else g for p, g in zip(self.wanted, found, strict=True))

    def each(self, inputs: Tensor, labels: Tensor) -> Tensors:
        """Return the gradients of each example alone, `[B, *shape]` each; errors as for `Steps.each_gradient`."""
        return self.steps.each_gradient(self.state, inputs, labels)
