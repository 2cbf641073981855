"""The kind of a file (gradient, weight difference or weights), and its conversion to an update."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..values.errors import AuditError
from ..values.types import UpdateKind
from .statistics import COUNTER, VARIANCE
from .update_names import UpdateParts

NEAR = 0.5  # relative distance to the model's weights below which a file contains weights
ALIKE = 1.35  # ratio of tensor norms within which a file looks like other weights of the model


class FileKind(enum.StrEnum):
    """The kind of values in a file."""

    GRADIENT = "gradient"
    WEIGHT_DIFFERENCE = "weight-difference"
    WEIGHTS = "weights"


class Direction(enum.StrEnum):
    """The direction of a weight difference."""

    BEFORE_MINUS_AFTER = "before-minus-after"
    AFTER_MINUS_BEFORE = "after-minus-before"


@dataclass(frozen=True, eq=False)
class UpdateReading:
    """The tensors of a file as an update.

    Args:
        holds: Kind of the file.
        why: Why it has this kind.
        tensors: Name -> tensor with the sign of a gradient, in the model's precision, on the CPU.
        buffers: Name -> buffer after the local training.
        notes: Sentences on how the tensors were changed.
        direction: Direction of the difference, if known; `tensors` already has the sign of a gradient then.
        changes: Whether the buffers were sent as differences too.
    """

    holds: FileKind
    why: str
    tensors: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    direction: Direction | None = None
    changes: bool = False

    @property
    def kind(self) -> UpdateKind:
        """Kind of the update."""
        return UpdateKind.GRADIENT if self.holds is FileKind.GRADIENT else UpdateKind.WEIGHT_DIFFERENCE

    def turned(self, model: nn.Module, why: str) -> UpdateReading:
        """Return the reading as a difference of after minus before, with the sign flipped; it is then not a gradient.

        Args:
            model: The model, with the buffers from before the local training.
            why: Why the difference is after minus before, as the beginning of a sentence.
        """
        old, buffers, gradient = dict(model.named_buffers()), self.buffers, self.holds is FileKind.GRADIENT
        if self.changes:
            buffers = {name: 2 * old[name].detach().cpu().double() - value for name, value in buffers.items()}
        return replace(
            self,
            holds=FileKind.WEIGHT_DIFFERENCE if gradient else self.holds,
            why="its values differ from the model's weights and have the opposite sign of a gradient"
            if gradient
            else self.why,
            tensors={name: -value for name, value in self.tensors.items()},
            buffers=buffers,
            notes=(*self.notes, f"{why}, so the difference is after minus before; its sign was flipped."),
            direction=Direction.AFTER_MINUS_BEFORE,
        )


def interpret(
    model: nn.Module,
    parts: UpdateParts,
    asked: FileKind | None,
    learning_rate: float | None,
    *,
    same_round: bool = False,
) -> UpdateReading:
    """Detect the kind of the file and return its tensors as an update.

    Args:
        model: The model, with the weights from before the local training.
        parts: The tensors of the file under the model's names.
        asked: The kind given by the user, if any.
        learning_rate: The learning rate given by the user, if any; values other than weights are then a difference.
        same_round: Whether the model's weights are certainly those that the client received, so that weights far from
            them were moved by the client, such as by noise.

    Raises:
        AuditError: The file contains weights that are far from the model's own, so that their difference is
            meaningless, or a learning rate was given for a gradient.
    """
    before = {name: value.detach().cpu() for name, value in model.named_parameters()}
    tensors = {name: value.to(before[name].dtype) for name, value in parts.parameters.items()}
    holds, why = (asked, "as given") if asked else _guess(tensors, before, learning_rate)
    if holds is FileKind.GRADIENT and learning_rate is not None:
        raise AuditError("--learning-rate does not apply to a gradient. Omit it, or give --kind weight-difference.")
    if holds is FileKind.WEIGHTS:
        if not same_round:
            _require_near(tensors, before)
        tensors = {name: before[name] - value for name, value in tensors.items()}
        return UpdateReading(holds, why, tensors, parts.buffers, direction=Direction.BEFORE_MINUS_AFTER)
    reading = UpdateReading(holds, why, tensors, parts.buffers)
    return reading if holds is FileKind.GRADIENT else _with_changed_buffers(model, reading)


def distance(found: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> float:
    """Return ‖found - before‖ / ‖before‖ over the tensors of `found`."""
    apart = sum(float((value.double() - before[name].double()).square().sum()) for name, value in found.items())
    length = sum(float(before[name].double().square().sum()) for name in found)
    return (apart / length) ** 0.5 if length else float("inf")


def _guess(
    tensors: Mapping[str, Tensor], before: Mapping[str, Tensor], learning_rate: float | None
) -> tuple[FileKind, str]:
    if not tensors:
        return FileKind.WEIGHTS, "it contains only buffers, which are treated as those after the training"
    apart = distance(tensors, before)
    if apart < NEAR:
        return FileKind.WEIGHTS, f"its values are close to the model's own weights, {100 * apart:.2g} % apart"
    if _alike(tensors, before):
        raise AuditError(
            "update: it looks like whole weights, but they are far from the model's own. Give the weights that the "
            "server sent with --weights, or give --kind gradient."
        )
    if learning_rate is not None:
        return FileKind.WEIGHT_DIFFERENCE, "its values differ from the model's weights, and a learning rate was given"
    return FileKind.GRADIENT, "its values differ from the model's weights; give --kind if it is a weight difference"


def _alike(tensors: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> bool:
    """Return whether every matrix has about the norm of the model's own, as other weights of the same model have."""
    ratios = [
        float(value.double().norm() / before[name].double().norm().clamp_min(1e-300))
        for name, value in tensors.items()
        if value.ndim > 1
    ]
    return len(ratios) > 1 and all(1 / ALIKE < ratio < ALIKE for ratio in ratios)


def _require_near(tensors: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    apart = distance(tensors, before) if tensors else 0.0
    if apart >= 1:
        raise AuditError(
            "update: whole weights are compared with those from before the training, but the model's weights are "
            f"{100 * apart:.0f} % away. Give the weights that the server sent with --weights."
        )


def _with_changed_buffers(model: nn.Module, reading: UpdateReading) -> UpdateReading:
    """Return a weight difference with its sign, if its buffers were sent as differences too and reveal it."""
    buffers = reading.buffers
    counters = [float(value) for name, value in buffers.items() if name.endswith(COUNTER)]
    shrunk = any(name.endswith(VARIANCE) and bool((value <= 0).any()) for name, value in buffers.items())
    if not shrunk and not any(counter < 0 for counter in counters):
        return reading
    old = dict(model.named_buffers())
    after = {name: old[name].detach().cpu().double() - value.double() for name, value in buffers.items()}
    reading = replace(reading, buffers=after, notes=("The buffers were sent as differences too.",), changes=True)
    if any(counter > 0 for counter in counters):  # step counters only grow
        return reading.turned(model, "The step counters grow")
    return replace(reading, direction=Direction.BEFORE_MINUS_AFTER if any(counters) else None)


def scale_invariance(model: nn.Module, tensors: Mapping[str, Tensor]) -> float | None:
    """Return how far filter gradients are from perpendicular to the filters: 0 if BatchNorm used the batch, else ~0.7.

    A layer that normalises with its batch cancels any scale of the filter before it, so <w_k, ∂L/∂w_k> = 0 (up to the
    layer's ε). The result is the median over all filters of |cos(w_k, ∂w_k)| · √n, for convolution filters of n >= 8
    values, or `None` if there is none.
    """
    cosines = []
    for name, layer in model.named_modules():
        gradient = tensors.get(f"{name}.weight")
        if not isinstance(layer, nn.modules.conv._ConvNd) or gradient is None or gradient[0].numel() < 8:
            continue
        g, w = gradient.flatten(1).double(), layer.weight.detach().cpu().flatten(1).double()
        alive = g.norm(dim=1) > 0
        cosine = nn.functional.cosine_similarity(g[alive], w[alive], dim=1, eps=1e-300)
        cosines.append(cosine.abs() * w.shape[1] ** 0.5)
    values = torch.cat(cosines) if cosines else torch.empty(0)
    return float(values.median()) if len(values) else None
