"""The mode of a client's layers during training: evaluation or training mode, with or without dropout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

BatchNormMode = Literal["eval", "train"]


@contextmanager
def batch_norm_mode(model: nn.Module, mode: str, *, dropout: bool = False, noise: bool = False) -> Iterator[None]:
    """Put every layer in evaluation mode and BatchNorm in `mode`, and restore the previous modes afterwards.

    Args:
        model: The model whose modes change inside the context.
        mode: `"eval"` or `"train"`, the mode of the BatchNorm layers.
        dropout: Whether all layers except normalisation layers are in training mode, such as dropout and stochastic
            depth.
        noise: Whether the layers that draw random numbers in training mode as a defense (`draws_noise`) draw them.
    """
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            trains = mode == "train" and isinstance(module, _BatchNorm)
            drawn = (dropout and not isinstance(module, _NormBase)) or (noise and draws_noise(module))
            module.training = trains or drawn
        yield
    finally:
        for module, was in before:
            module.training = was


def draws_noise(module: nn.Module) -> bool:
    """Return whether a layer draws random numbers in training mode as a part of a defense of the model."""
    return bool(getattr(module, "draws_noise", False))


def penalised(loss: Tensor, modules: Iterable[nn.Module]) -> Tensor:
    """Return the loss plus the penalties that layers of a defense set in the last forward pass, and remove these.

    Args:
        loss: Scalar, the loss of the output of that pass.
        modules: The layers of the model; one sets its attribute `penalty`, a scalar with its graph.
    """
    for module in modules:
        penalty = module.__dict__.get("penalty")
        if penalty is not None:
            loss = loss + penalty
            module.__dict__["penalty"] = None
    return loss


class InMode:
    """A context that puts a model in the mode of its client's training, for many forward passes.

    Every layer is in evaluation mode and BatchNorm in `mode`. Buffers that a forward pass changes, such as BatchNorm's
    statistics in training mode, are restored afterwards. The context finds once, when it is created, what it has to
    change.

    Args:
        model: The model; its parameters are not changed.
        mode: `"eval"` or `"train"`, the mode of the BatchNorm layers.
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
