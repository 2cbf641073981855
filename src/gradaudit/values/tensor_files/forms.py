"""Conversion of every tensor of a file to one form: dense, strided, contiguous, on the CPU, without a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..memory import memory_here

REAL = "fiub"  # kinds of numpy dtypes that torch supports: floating point, integers, booleans
WIDEST = 8  # largest size of a number in torch, in bytes


def require_room(claimed: int) -> None:
    """Raise `ValueError` if a file claims more bytes of tensors than this machine has."""
    if claimed > memory_here():
        raise ValueError(f"claims {claimed / 1e9:,.0f} GB of tensors, more than this machine holds")


def one_form(value: Any) -> Tensor:
    """Return `value` as a dense tensor of real numbers in its own precision; float8 and quantised ones become float32.

    Raises:
        ValueError: It is not a tensor or array, or cannot be converted to dense real numbers. The message says what it
            is, as the end of a sentence.
    """
    if isinstance(value, np.ndarray):
        value = _from_array(value)
    if not isinstance(value, Tensor):
        raise ValueError(f"is no tensor but of type {type(value).__name__}")
    if type(value) not in (Tensor, nn.Parameter):
        raise ValueError(f"is a tensor of the special type {type(value).__name__}, which is not read; save it dense")
    value = value.detach()
    if value.is_nested:
        raise ValueError("is a nested tensor, rows of different lengths, which no parameter is; save it dense")
    if value.is_meta:
        raise ValueError("lies on the meta device, so its values were never saved; save it from the CPU")
    if value.is_complex():
        raise _complex(value)
    return _dense(value)


def precision(value: Any) -> str:
    """Return the dtype of a tensor or array, such as `float16`."""
    return str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")


def _complex(value: Any) -> ValueError:
    return ValueError(f"holds complex numbers ({precision(value)}), and a half of them would be lost; save real ones")


def _dense(value: Tensor) -> Tensor:
    try:
        if value.is_quantized:
            value = value.dequantize()
        if value.layout is not torch.strided:
            value = value.to_dense()
        if value.is_floating_point() and value.dtype not in (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
        ):
            value = value.to(torch.float32)
        return value.cpu().resolve_neg().contiguous()
    except RuntimeError as error:  # including NotImplementedError: a storage-only precision
        raise ValueError(f"is {precision(value)} in {value.layout}, which torch cannot turn into numbers") from error


def _from_array(value: np.ndarray) -> Tensor:
    if value.dtype.kind == "c":
        raise _complex(value)
    if value.dtype.kind not in REAL or value.dtype.itemsize > WIDEST:
        raise ValueError(f"is an array of {value.dtype}, which are no numbers of a model")
    return torch.from_numpy(np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape))
