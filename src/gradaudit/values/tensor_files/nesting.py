"""Finding the tensors inside a nested checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

WRAPPING = (
    *("model", "state_dict", "model_state_dict", "model_state", "weights", "params", "parameters"),
    *("module", "net", "network", "data", "update", "gradient", "gradients", "grad", "grads", "delta", "deltas"),
    *("weight_diff", "weight_difference"),
)
"""Usual keys, and prefixes of names, of the part of a checkpoint that contains its tensors."""
DEEPEST = 4  # levels of nesting
POSITIONAL = "arr_"  # prefix that numpy.savez gives to arrays without a name; Flower only numbers them


def unwrapped(found: Any) -> Mapping[Any, Any] | list[Any]:
    """Return name -> tensor, or a list of tensors without names; `None` keeps its place.

    Raises:
        ValueError: There are no tensors in the usual places, or tensors in two places. The message is the end of a
            sentence about the file.
    """
    for _ in range(DEEPEST):
        places = [key for key in WRAPPING if isinstance(found, Mapping) and _holds_tensors(found.get(key))]
        if len(places) > 1:
            raise ValueError(f"holds tensors under {' and '.join(places)}; save only those that are meant")
        found = found[places[0]] if places else found
    if isinstance(found, Mapping) and found and all(_position(key) is not None for key in found):
        found = {_position(key): value for key, value in found.items()}
        lacking = sorted({*range(len(found))} - {*found})
        if lacking:
            raise ValueError(f"holds arrays without names, but not all in a row: number {lacking[0]} is missing")
        found = [found[place] for place in range(len(found))]
    if isinstance(found, (Mapping, list, tuple)) and any(map(_is_array, _entries(found))):
        return found if isinstance(found, Mapping) else list(found)
    if _is_array(found):
        raise ValueError("holds one tensor without a name; save a dictionary of names and tensors in it")
    inner = [str(key) for key, value in found.items() if _holds_tensors(value)] if isinstance(found, Mapping) else []
    if inner:
        raise ValueError(f"holds tensors under {', '.join(inner[:3])} only; save those alone")
    raise ValueError("holds no tensors; save a dictionary of names and tensors in it")


def require_all(found: Mapping[Any, Any] | list[Any], metadata: Mapping[str, str]) -> None:
    """Raise `ValueError` if a file lacks a tensor that its own metadata lists under `order`, as a capture does."""
    try:
        order = json.loads(metadata.get("order", "[]")) if metadata.get("gradaudit") else []
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, list):
        raise ValueError("is damaged: its metadata lists no tensors under order")
    lacking = [str(name) for name in order if isinstance(found, Mapping) and str(name) not in map(str, found)]
    if lacking or len(order) > len(found):
        raise ValueError(f"is damaged: its metadata lists {len(order)} tensors, and {len(found)} are there")


def _holds_tensors(value: Any, deep: int = DEEPEST) -> bool:
    """Return whether `value` contains a tensor, at most `deep` levels down; a pickled dictionary may contain itself."""
    return isinstance(value, (Mapping, list, tuple)) and any(
        _is_array(entry) or (deep > 1 and _holds_tensors(entry, deep - 1)) for entry in _entries(value)
    )


def _entries(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else list(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _position(name: Any) -> int | None:
    """Return the place of an array that has no other name, as numpy or Flower numbers it, or `None`."""
    rest = str(name).removeprefix(POSITIONAL)
    return int(rest) if re.fullmatch("[0-9]{1,9}", rest) else None
