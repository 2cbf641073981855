"""The mode in which a client's layers work while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

BatchNormMode = Literal["eval", "train"]


@contextmanager
def batch_norm_mode(model: nn.Module, mode: str, *, dropout: bool = False) -> Iterator[None]:
    """Put every layer in evaluation mode, BatchNorm in `mode`, and restore what was there.

    Args:
        model: Whose modes change inside.
        mode: `"eval"` or `"train"`.
        dropout: Put all layers but the normalising ones in training mode: dropout, stochastic depth and their like.
    """
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            trains = mode == "train" and isinstance(module, _BatchNorm)
            module.training = trains or (dropout and not isinstance(module, _NormBase))
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
