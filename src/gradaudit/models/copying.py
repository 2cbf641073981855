"""Copies of a model that share nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def private_copy(model: nn.Module) -> nn.Module:
    """A deep copy of `model`, also where a module holds a tensor with a history.

    Such a tensor is no part of the model: a network that keeps its features in `forward`, or the weight that the legacy
    `torch.nn.utils.weight_norm` computes anew in every pass. The copy holds its values without the history, which torch
    refuses to copy.
    """
    with _WithoutHistory():
        return deepcopy(model)


class _WithoutHistory(TorchFunctionMode):
    """Inside, tensors with a history are copied without it."""

    def __torch_function__(
        self, call: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if call is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            memo[id(tensor)] = copied = tensor.detach().clone()
            return copied
        return call(*args, **(kwargs or {}))
