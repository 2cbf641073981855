"""One FedSGD step of the client on the run's own copy of its model: the two passes that the routes consist of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...protocol.local_training import InMode, LocalTraining, penalised
from ...protocol.observation import Observation
from ...values.chance import forked
from ..parts.label_values import Labels
from ..parts.small import ConvolutionKernels
from ..parts.vectors import norm
from .checkpoint import Around, blocks, checkpointed
from .kinks import Kinks, Replayer

# |εv| / |θ| in float32, between rounding (below) and curvature (above); batch statistics over few pixels curve more.
REACH = {"eval": 1e-5, "train": 1e-6}
FINER = 3e-4  # factor on `REACH` in float64
TINY = 1e-30  # smallest L2 norm of a direction that is divided by


def assumed_step(seen: Observation, *, checkpoint: bool = False) -> OneStep | None:
    """Return the client's single step as the adversary knows or assumes it; `None` if it took several."""
    training = seen.assumed_training
    return OneStep(seen.model, training, checkpoint=checkpoint) if training.single_step else None


class OneStep:
    """The training loss at the parameters θ and near them.

    It must be created before any part hooks the model: hooks that are added later belong to priors, and run in first
    passes only.

    Args:
        model: A copy that belongs to this run.
        training: The local training, without a learning rate.
    """

    def __init__(self, model: nn.Module, training: LocalTraining, *, checkpoint: bool = False) -> None:
        self.model, self.training = model, training
        self.named = training.shared_parameters(model)
        self.parameters = list(self.named.values())
        self.kinks: Kinks | None = Kinks()
        self._blocks = blocks(model) if checkpoint else []
        self._mode = InMode(model, training.batch_norm)
        self._layers = list(model.modules())
        self._hooks = {id(hook) for hooks in self._hooked() for hook in hooks.values()}
        self._length: Tensor | None = None
        self.closer = 1.0  # factor on the reach

    def loss(self, x: Tensor, y: Tensor, *, plain_attention: bool = False) -> Tensor:
        """Return the loss at θ, a scalar with its graph to the parameters.

        Args:
            x: `[B, C, H, W]`.
            y: `[B]` integers, or `[B, K]` logits.
            plain_attention: Whether attention uses elementary operations; its fused kernels have no second derivative.
        """
        around = _plain_attention if plain_attention else nullcontext
        return self._forward(x, y, around, lambda: around)

    def gradient(self, x: Tensor, y: Tensor, plain_attention: bool) -> tuple[Tensor, ...]:
        """Return the gradient of `loss` in the parameters, with its graph."""
        loss = self.loss(x, y, plain_attention=plain_attention)
        return torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True, materialize_grads=True)

    def recorded_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the same as `loss`, for the first of two passes, and record the kinks."""
        if self.kinks is None:
            return self.loss(x, y)
        # A checkpointed block is recomputed without replay: the same parameters take the same branches.
        loss = self._forward(x, y, self.kinks.recording, lambda: nullcontext)
        if not self.kinks.entries:
            self.kinks = None  # a smooth network has no kinks to replay
        return loss

    def _replayed_loss(self, x: Tensor, y: Tensor) -> Tensor:
        if self.kinks is None:
            return self.loss(x, y)
        replayer = self.kinks.replaying()
        return self._forward(x, y, lambda: replayer, lambda: partial(Replayer, replayer.entries, replayer.position))

    def _forward(self, x: Tensor, y: Tensor, around: Around, again: Callable[[], Around]) -> Tensor:
        """Return the loss; `again()` returns, block by block, the context in which a block is recomputed."""
        saving = checkpointed(self._blocks, lambda: _Reusable(self, again())) if self._blocks else nullcontext()
        with self._mode, torch.enable_grad(), around(), saving:
            loss = self.training.loss(self.model(x), Labels.target(y, self.training.loss))
            return penalised(loss, self._layers)

    def kernels(self, x: Tensor) -> ConvolutionKernels:
        """Return which library computes the convolutions for candidates of the shape of `x`."""
        with self.alone(), forked(x.device):
            return ConvolutionKernels(self.model, lambda: self.model(x.detach().clone()), len(x))

    def reach(self) -> Tensor:
        """Return the distance of the second pass from θ, a scalar in units of θ."""
        if self._length is None:
            with torch.no_grad():
                self._length = norm(self.parameters)
        fine = FINER if self._length.dtype == torch.float64 else 1.0
        return self._length * (REACH[self.training.batch_norm] * fine * self.closer)

    def slope_at(self, shifted: Sequence[Tensor], x: Tensor, y: Tensor, wanted: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run the second pass: return ∂L/∂`wanted` at the parameters `shifted`, on the branches of the first pass."""
        with self._moved_to(shifted):
            with self.silent():
                loss = self._replayed_loss(x, y)
            return torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)

    @contextmanager
    def _moved_to(self, shifted: Sequence[Tensor]) -> Iterator[None]:
        """Run the model with other parameters; its own are never written to, so that nothing must be undone."""
        kept = [parameter.data for parameter in self.parameters]
        try:
            for parameter, other in zip(self.parameters, shifted, strict=True):
                parameter.requires_grad_(False)
                parameter.data = other
            yield
        finally:
            for parameter, data in zip(self.parameters, kept, strict=True):
                parameter.data = data
                parameter.requires_grad_()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run the model in its mode and without the hooks of priors."""
        with self._mode, self.silent():
            yield

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Run the model without the hooks of priors."""
        kept = [(hooks, dict(hooks)) for hooks in self._hooked()]
        try:
            for hooks, before in kept:
                for key, hook in before.items():
                    if id(hook) not in self._hooks:
                        del hooks[key]
            yield
        finally:
            for hooks, before in kept:
                hooks.clear()
                hooks.update(before)

    def _hooked(self) -> list[OrderedDict]:
        """Return the hooks of all modules that have any."""
        both = ((module._forward_pre_hooks, module._forward_hooks) for module in self._layers)
        return [hooks for pair in both for hooks in pair if hooks]


class _Reusable:
    """The context of a checkpointed block each time it is recomputed in a backward pass."""

    def __init__(self, one: OneStep, around: Around) -> None:
        self.one, self.around = one, around
        self.stack = ExitStack()

    def __enter__(self) -> None:
        self.stack.enter_context(self.one.alone())
        self.stack.enter_context(self.around())

    def __exit__(self, *failure: object) -> None:
        self.stack.__exit__(*failure)  # type: ignore[arg-type]


def _plain_attention() -> AbstractContextManager:
    return sdpa_kernel(SDPBackend.MATH)
