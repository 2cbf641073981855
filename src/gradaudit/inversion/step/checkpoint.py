"""Activation checkpointing of any model: blocks store only their inputs, and recompute the rest when it is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SHORT = 3  # number of layers up to which a chain is not worth a checkpoint

Around = Callable[[], AbstractContextManager]


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules to checkpoint: residual blocks, transformer layers and chains of single layers.

    The list may be empty.
    """
    if _is_chain(model):
        return [model] if len(list(model.children())) > SHORT else []
    return [block for child in model.children() if _composite(child) for block in _inside(child)]


def _inside(module: nn.Module) -> list[nn.Module]:
    return blocks(module) if _is_chain(module) or _holds_blocks(module) else [module]


def _is_chain(module: nn.Module) -> bool:
    plain = type(module).forward is nn.Sequential.forward
    return plain and not any(_composite(child) for child in module.children())


def _composite(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _holds_blocks(module: nn.Module) -> bool:
    """Return whether a container inside lists composite modules, so that `module` is too large for one block."""
    lists = (inner for inner in module.modules() if isinstance(inner, (nn.Sequential, nn.ModuleList)))
    return any(_composite(child) for inner in lists for child in inner)


@contextmanager
def checkpointed(modules: list[nn.Module], again: Around) -> Iterator[None]:
    """Checkpoint the activations of forward passes within this context.

    Args:
        modules: Result of `blocks`.
        again: Called when a block is entered; returns the context in which the block is recomputed.
    """

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), again()

    def kept(run: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": contexts}
            return checkpoint(run, *args, **options, **kwargs)

        return forward

    try:
        for module in modules:
            module.forward = _segments(module, kept) if _is_chain(module) else kept(module.forward)  # type: ignore
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)


def _segments(chain: nn.Module, kept: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    """Return the forward function of a chain in about √n pieces."""
    layers = list(chain.children())
    length = math.isqrt(len(layers) - 1) + 1
    pieces = [kept(nn.Sequential(*layers[i : i + length]).forward) for i in range(0, len(layers), length)]

    def forward(inputs: Tensor) -> Tensor:
        for piece in pieces:
            inputs = piece(inputs)
        return inputs

    return forward
