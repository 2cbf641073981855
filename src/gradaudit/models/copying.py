"""Copies of a model that share no tensor with it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def private_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy of `model`, even if a module stores a tensor with a gradient history.

    Such a tensor is not a parameter: for example, a network stores its features in `forward`, or the legacy
    `torch.nn.utils.weight_norm` computes a weight in every forward pass. The copy has its values without the history,
    which torch refuses to copy.
    """
    with _WithoutHistory():
        return deepcopy(model)


class _WithoutHistory(TorchFunctionMode):
    """A context in which tensors with a gradient history are copied without it."""

    def __torch_function__(
        self, call: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if call is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            memo[id(tensor)] = copied = tensor.detach().clone()
            return copied
        return call(*args, **(kwargs or {}))
