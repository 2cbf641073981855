"""A check that a model takes the examples, and the number of its classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..values.errors import AuditError, guarded
from ..values.measures import MEASURES
from ..values.types import Modality


class DoesNotTake(AuditError):  # noqa: N818
    """Raised if a model raises an exception for one example."""


def input_check(
    model: nn.Module, shape: tuple[int, ...], device: torch.device | str, modality: Modality = Modality.PICTURES
) -> int:
    """Return the number of classes of a model, from one example in the model's precision and in evaluation mode.

    The modes of the layers are restored afterwards.

    Args:
        model: A classifier, on `device`.
        shape: Shape of one example: `(C, H, W)` of an image, `(L,)` of a text, `(D,)` of a row.
        device: Device of the example.
        modality: Modality of the example; token ids are integers.

    Returns:
        K, the number of logits, at least 2.

    Raises:
        DoesNotTake: The model raised an exception.
        AuditError: The model did not return finite floating point logits `[1, K]` of at least two classes.
    """
    output = answer(model, shape, device, modality)
    fault = _fault(output)
    if fault:
        raise AuditError(f"model: for one {MEASURES[modality].noun} of shape {list(shape)} it returned {fault}")
    return output.shape[1]


def answer(
    model: nn.Module, shape: tuple[int, ...], device: torch.device | str, modality: Modality = Modality.PICTURES
) -> Any:
    """Return the model's output for one example; arguments as for `input_check`.

    Raises:
        DoesNotTake: The model raised an exception.
    """
    noun = MEASURES[modality].noun
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad(), guarded(f"model: it cannot take {noun}s of shape {list(shape)}"):
            return model.eval()(_example(model, shape, modality).to(device))
    except AuditError as error:
        raise DoesNotTake(str(error)) from error
    finally:
        for module, mode in modes:
            module.training = mode


def precision(model: nn.Module) -> torch.dtype:
    """Return the precision of the model's first floating point parameter, or float32 if it has none."""
    return next((value.dtype for value in model.parameters() if value.is_floating_point()), torch.float32)


def _example(model: nn.Module, shape: tuple[int, ...], modality: Modality) -> Tensor:
    """Return an example `[1, *shape]`: padding for a text, otherwise a ramp.

    A constant example would not do, because a model may divide it by its own standard deviation.
    """
    if modality is Modality.TEXT:
        return torch.zeros(1, *shape, dtype=torch.int64)
    return torch.linspace(0.1, 0.9, math.prod(shape)).view(1, *shape).to(precision(model))


def _fault(output: Any) -> str:
    """Return what is wrong with the output for one example and how to fix it, or an empty string."""
    if not isinstance(output, Tensor):
        return f"a value of type {type(output).__name__}, not logits [1, K]; return the logits alone."
    if output.ndim != 2 or len(output) != 1:
        return f"a value of shape {list(output.shape)}, not logits [1, K]."
    if not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        return f"{kind} numbers, not logits; return the scores before any argmax."
    if output.shape[1] < 2:
        return (
            f"{'one logit' if output.shape[1] else 'no logits'}, and cross entropy over fewer than two classes is 0. "
            "Choose training.loss: binary-cross-entropy, or give the model two logits, one for each class."
        )
    if not torch.isfinite(output).all():
        return "logits that hold NaN or infinity; fix the model or its weights."
    return ""
