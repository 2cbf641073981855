"""Activation checkpointing of any model: blocks keep what enters them, and compute the rest again when it is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SHORT = 3  # layers of a chain that is not worth a checkpoint

Around = Callable[[], AbstractContextManager]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The modules to checkpoint: residual blocks, transformer layers, chains of single layers. May be none."""
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
    """Whether some container inside lists composite modules: `module` is then too large for one block."""
    lists = (inner for inner in module.modules() if isinstance(inner, (nn.Sequential, nn.ModuleList)))
    return any(_composite(child) for inner in lists for child in inner)


@contextmanager
def checkpointed(modules: list[nn.Module], again: Around) -> Iterator[None]:
    """Forward passes inside keep little.

    Args:
        modules: From `blocks`.
        again: Called when a block is entered; gives the context in which it is computed again.
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
    """A chain in about √n pieces."""
    layers = list(chain.children())
    length = math.isqrt(len(layers) - 1) + 1
    pieces = [kept(nn.Sequential(*layers[i : i + length]).forward) for i in range(0, len(layers), length)]

    def forward(inputs: Tensor) -> Tensor:
        for piece in pieces:
            inputs = piece(inputs)
        return inputs

    return forward
