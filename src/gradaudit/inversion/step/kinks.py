"""Freeze kinks: a second forward pass that takes the branches of the first at every ReLU and every max-pool.

A finite difference of ∂L/∂x along the parameters measures the second derivative only if both passes lie on the same
smooth piece of the network. Otherwise some unit of a ReLU network switches at any useful step length, and the
difference measures the switch (cosine 0.02-0.4 to the exact gradient near the solution).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...values.errors import AuditError

Call = Callable[..., Any]


class KinksDiffer(AuditError):  # noqa: N818
    """The second pass called other functions, or in another order, so its branches cannot be those of the first."""


class Kinks:
    """The branches of one forward pass, in the order of the calls.

    Calls are recorded however a model makes them: modules, `torch.nn.functional`, functions of `torch`, methods of
    tensors. Scripted modules are not recorded.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[Call, torch.Size, Call]] = []  # function, shape of its input, replay

    def recording(self) -> Recorder:
        """Return the context of the first pass; it forgets the previous pass."""
        self.entries = []
        return Recorder(self.entries)

    def replaying(self, start: int = 0) -> Replayer:
        """Return the context of a later pass, which replays the recorded branches from the entry `start` on."""
        return Replayer(self.entries, start)


class Recorder(TorchFunctionMode):
    """A context in which kinks are recorded."""

    def __init__(self, entries: list[tuple[Call, torch.Size, Call]]) -> None:
        super().__init__()
        self.entries = entries

    def __torch_function__(self, call: Call, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        freeze = HANDLERS.get(call)
        if freeze is None or _smooth(args, kwargs):
            return call(*args, **kwargs)
        result, replay = freeze(call, *args, **kwargs)
        self.entries.append((call, _input(args, kwargs).shape, replay))
        return result


class Replayer(TorchFunctionMode):
    """A context in which kinks are replayed; `position` is the index of the next entry."""

    def __init__(self, entries: list[tuple[Call, torch.Size, Call]], position: int) -> None:
        super().__init__()
        self.entries, self.position = entries, position

    def __torch_function__(self, call: Call, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if call not in HANDLERS or _smooth(args, kwargs):
            return call(*args, **kwargs)
        before, shape, replay = self.entries[self.position] if self.position < len(self.entries) else (None,) * 3
        if call is not before or _input(args, kwargs).shape != shape:
            raise KinksDiffer(f"the two forward passes differ: {call.__name__} was called at another position.")
        self.position += 1
        return replay(*args, **kwargs)


def _input(args: Any, kwargs: Any) -> Tensor:
    return args[0] if args else kwargs["input"]


def _smooth(args: Any, kwargs: Any) -> bool:
    """Return whether a call is left alone: of complex numbers there is no sign, and `out` names another result."""
    return "out" in kwargs or _input(args, kwargs).is_complex()


def _inplace(call: Call, kwargs: Any) -> bool:
    return bool(kwargs.get("inplace")) or call.__name__.endswith("_")


def _linear_pieces(pieces: Callable[..., tuple[Tensor, Tensor | None]]) -> Call:
    """Freeze an elementwise function that is `slope * x + offset` on each piece; `pieces(x, ...)` returns both."""

    def freeze(call: Call, input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Call]:
        inplace = _inplace(call, kwargs)
        with torch.no_grad():
            slope, offset = pieces(input, *args, **{key: kwargs[key] for key in kwargs if key != "inplace"})

        def replay(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            result = input.mul_(slope) if inplace else input * slope
            return result if offset is None else result.add_(offset)

        return call(input, *args, **kwargs), replay

    return freeze


def _relu(call: Call, input: Tensor, inplace: bool = False) -> tuple[Tensor, Call]:
    """Freeze a ReLU: its result, which nothing overwrites before the backward pass, tells the active units."""
    result = call(input, inplace=inplace) if inplace else call(input)
    active = result.detach()

    def replay(input: Tensor, inplace: bool = False) -> Tensor:
        kept = torch.ops.aten.threshold_backward(input, active, 0)  # the input where the result is positive, else 0
        return input.copy_(kept) if inplace or call.__name__.endswith("_") else kept

    return result, replay


def _leaky_relu(x: Tensor, negative_slope: float = 0.01) -> tuple[Tensor, None]:
    return torch.where(x > 0, 1.0, negative_slope).to(x.dtype), None


def _abs(x: Tensor) -> tuple[Tensor, None]:
    return x.sign(), None


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> tuple[Tensor, Tensor]:
    inside = (x > min_val) & (x < max_val)
    return inside, x.clamp(min_val, max_val) * ~inside


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> tuple[Tensor, Tensor]:
    clamped = x.clamp(min, max)
    inside = clamped == x
    return inside, clamped * ~inside


def _hardsigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    inside = (x > -3) & (x < 3)
    return inside.to(x.dtype) / 6, torch.where(inside, 0.5, (x > 0).to(x.dtype))


def _hardswish(call: Call, input: Tensor, inplace: bool = False) -> tuple[Tensor, Call]:
    with torch.no_grad():
        middle, upper = (input > -3) & (input < 3), input >= 3

    def replay(input: Tensor, inplace: bool = False) -> Tensor:
        x = input.clone() if inplace else input  # the products keep what they multiply for the backward pass
        result = middle * (x * (x + 3) / 6) + upper * x
        return input.copy_(result) if inplace else result

    return call(input, inplace=inplace), replay


def _prelu(call: Call, input: Tensor, weight: Tensor) -> tuple[Tensor, Call]:
    with torch.no_grad():
        positive = input > 0
        negative = ~positive

    def replay(input: Tensor, weight: Tensor) -> Tensor:
        shape = (1, -1, *(1,) * (input.ndim - 2)) if input.ndim > 1 else (-1,)
        return input * positive + weight.view(shape) * (input * negative)

    return call(input, weight), replay


def _larger(call: Call, input: Tensor, other: Tensor) -> tuple[Tensor, Call]:
    with torch.no_grad():
        first = input >= other if call is torch.maximum else input <= other
    return call(input, other), lambda input, other: torch.where(first, input, other)


def _pool(with_indices: Call, axes: int) -> Call:
    """Freeze max-pooling over the last `axes` axes: the second pass gathers the winners of the first."""

    def freeze(call: Call, *args: Any, **kwargs: Any) -> tuple[Any, Call]:
        both = bool(kwargs.get("return_indices"))
        pooled, winners = with_indices(*args, **{key: kwargs[key] for key in kwargs if key != "return_indices"})
        flat = winners.flatten(-axes)

        def replay(*args: Any, **kwargs: Any) -> Any:
            taken = _input(args, kwargs).flatten(-axes).gather(-1, flat).view(winners.shape)
            return (taken, winners) if both else taken

        return (pooled, winners) if both else pooled, replay

    return freeze


HANDLERS: dict[Call, Call] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _relu),
    **dict.fromkeys((torch.abs, Tensor.abs, Tensor.abs_), _linear_pieces(_abs)),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _linear_pieces(_leaky_relu)),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), _linear_pieces(_hardtanh)),
    **dict.fromkeys((torch.clamp, Tensor.clamp, Tensor.clamp_), _linear_pieces(_clamp)),
    F.hardsigmoid: _linear_pieces(_hardsigmoid),
    F.hardswish: _hardswish,
    torch.prelu: _prelu,
    torch.maximum: _larger,
    torch.minimum: _larger,
    **dict.fromkeys((F.max_pool1d, F.max_pool1d_with_indices), _pool(F.max_pool1d_with_indices, 1)),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d, F.max_pool2d_with_indices), _pool(F.max_pool2d_with_indices, 2)),
    **dict.fromkeys((F.max_pool3d, F.max_pool3d_with_indices), _pool(F.max_pool3d_with_indices, 3)),
    F.adaptive_max_pool2d: _pool(F.adaptive_max_pool2d_with_indices, 2),
    F.adaptive_max_pool2d_with_indices: _pool(F.adaptive_max_pool2d_with_indices, 2),
}
"""Function -> its handler: `(function, *arguments) -> (its result, a function that replays it on other inputs)`."""
