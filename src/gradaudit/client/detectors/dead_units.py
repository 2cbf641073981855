"""Units that no example of the batch reaches, or that all of them saturate (Pasquini et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...values.errors import guarded
from ..received import Received
from ._detector import Detector, Indicator, Places

LEAST = 8  # units below which a share says nothing
FLAT = 1e-6  # distance from a bound at which an activation is flat
BOUNDS: dict[Callable[..., Any], tuple[float, ...]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), (0.0,)),
    F.relu6: (0.0, 6.0),
    F.hardsigmoid: (0.0, 1.0),
    F.hardtanh: (-1.0, 1.0),
    **dict.fromkeys((torch.sigmoid, Tensor.sigmoid), (0.0, 1.0)),
    **dict.fromkeys((torch.tanh, Tensor.tanh), (-1.0, 1.0)),
}
"""Activations with flat parts, and the values that they have there."""


@dataclass(frozen=True)
class DeadUnits(Detector):
    """Nearly all units of an activation are at a bound for every example: off behind a ReLU, or saturated.

    Gradient suppression sets the biases in front of a ReLU so low that all clients but one send a gradient of zero.
    ReLU, ReLU6, the sigmoid, the hyperbolic tangent and their piecewise linear forms are seen. A channel is at a bound
    if it is so at all positions.

    Args:
        share: Share of units that are at a bound.
    """

    paper: ClassVar[str] = "arXiv:2111.07380"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "batch"})
    sign: ClassVar[str] = (
        "Behind {where}, nearly no unit reacts to any example of your batch, so that what comes before it has no "
        "gradient."
    )
    none: ClassVar[str] = "Every activation with a flat part reacts to your batch."
    blind: ClassVar[str] = "it has no activation with a flat part"
    share: float = 0.95

    def places(self, received: Received) -> Places:
        """Yield the share of units that are at a bound, for every activation."""
        for number, share in enumerate(flat_shares(received), 1):
            yield f"activation {number}", (Indicator("share of units at a bound", share, self.share, (0.0, 0.19)),)


def flat_shares(received: Received) -> list[float]:
    """Return the share of units that are at a bound for all examples, for every activation in the order of the calls.

    Raises:
        AuditError: The model cannot take the batch.
    """
    model, inputs = received.model, received.inputs
    assert model is not None
    assert inputs is not None
    seen = _Activations()
    with torch.no_grad(), guarded("model: it cannot take the batch"), seen:
        model(inputs.clone())
    return seen.shares


class _Activations(TorchFunctionMode):
    """A context in which every call of an activation adds the share of its units that are at a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[float] = []

    def __torch_function__(
        self, call: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = call(*args, **(kwargs or {}))
        if call in BOUNDS and isinstance(output, Tensor):
            share = _flat(output, BOUNDS[call])
            self.shares += [] if share is None else [share]
        return output


def _flat(output: Tensor, bounds: tuple[float, ...]) -> float | None:
    """Return the share of units at a bound, or `None` for fewer than 8 units: gates and attention maps, too."""
    if output.ndim < 2:
        return None
    units = output.flatten(2).transpose(1, 2).flatten(0, 1) if output.ndim == 4 else output.flatten(0, -2)
    if units.shape[1] < LEAST:
        return None
    flat = torch.stack([((units - bound).abs() <= FLAT).all(0) for bound in bounds]).any(0)
    return float(flat.double().mean())
