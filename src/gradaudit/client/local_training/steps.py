"""One local step: the gradient of the training loss at given parameters, and where the optimiser goes from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from ...values.types import LossFunction, Tensors
from .modes import BatchNormMode, batch_norm_mode
from .rules import Moments

Rule = Callable[[Tensor, Tensor, Moments | None], tuple[Tensor, Moments | None]]
Again = Literal["gradient", "step"] | None


class OptimiserState(NamedTuple):
    """Between two local steps.

    Args:
        parameters: One tensor per trainable parameter, leaves or with their graph.
        moments: What the optimiser remembers of each.
        buffers: Name -> buffer of the model.
    """

    parameters: Tensors
    moments: tuple[Moments | None, ...]
    buffers: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Steps:
    """What is the same in all steps of one training run; holds no state, so that a step can be computed again.

    Args:
        model: Never changed.
        loss: `(logits, labels) -> scalar`.
        rule: `(parameter, gradient, moments) -> (parameter, moments)`.
        batch_norm: Mode of the BatchNorm layers.
        dropout: Dropout is on.
        differentiable: Steps keep their graph.
        again: What of a step is computed again in the backward pass instead of being kept, if anything: the gradient,
            or the whole step. SGD's rule is linear and keeps nothing, so that its velocities need not be kept either.
    """

    model: nn.Module
    loss: LossFunction
    rule: Rule
    batch_norm: BatchNormMode
    dropout: bool
    differentiable: bool
    again: Again = None

    def start(self) -> OptimiserState:
        """The model as it is, each parameter as a leaf of its own."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        leaves = tuple(parameter.detach().requires_grad_() for parameter in trained)
        return OptimiserState(leaves, (None,) * len(leaves), dict(self.model.named_buffers()))

    def gradient(
        self, state: OptimiserState, inputs: Tensor, labels: Tensor, wanted: Tensors
    ) -> tuple[tuple[Tensor | None, ...], Mapping[str, Tensor]]:
        """∂loss/∂`wanted`, `None` for what the model does not use, and the buffers after the forward pass.

        The model takes a copy of the inputs, on which it may work in place; what is differentiated refuses that.
        """
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        buffers = {name: buffer.clone() for name, buffer in state.buffers.items()}
        given = inputs if self.differentiable else inputs.clone()
        both = (dict(zip(names, state.parameters, strict=True)), buffers)
        with torch.enable_grad(), batch_norm_mode(self.model, self.batch_norm, dropout=self.dropout):
            loss = self.loss(functional_call(self.model, both, (given,)), labels)
        return torch.autograd.grad(loss, wanted, create_graph=self.differentiable, allow_unused=True), buffers

    def step(self, state: OptimiserState, inputs: Tensor, labels: Tensor) -> OptimiserState:
        """The state after one step; a parameter that the model does not use stays, as in `torch.optim`."""
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
