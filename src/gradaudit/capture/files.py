"""The tensors of a captured update, read from its file without running any code of it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AuditError
from ..models.weights import READERS, UNREADABLE

PICKLED = (".pkl", ".pickle", ".joblib", ".dill")
NESTED_UNDER = ("state_dict", "model_state_dict", "update", "gradient", "gradients", "weights", "parameters")
POSITIONAL = "arr_"  # what numpy.savez calls arrays without a name

Raw = dict[str, Tensor] | tuple[Tensor, ...]
"""Name -> tensor, or tensors without names in the order of the file."""


def read_tensors(path: Path) -> Raw:
    """What lies in an update's file.

    A dictionary nested under a usual key is unwrapped. A list of tensors, or an `.npz` archive of arrays without names,
    comes back as a tuple.

    Args:
        path: `.safetensors`; `.pt` or `.pth` with plain tensors (`weights_only`); or `.npz` without objects.

    Raises:
        AuditError: No such file, an unknown or unsafe format, a damaged file, or no tensors in it.
    """
    if not path.is_file():
        raise AuditError(f"update: no file at {path}.")
    ending = path.suffix.lower()
    if ending in PICKLED:
        raise AuditError(
            f"update: {path.name} is a pickle, which can run code when read; save the tensors as .safetensors, .npz or "
            "with torch.save(dict of tensors)."
        )
    reader = READERS.get(ending)
    if reader is None:
        raise AuditError(f"update: cannot tell what {path.name} is; give one of {', '.join(READERS)}.")
    try:
        found = reader(path)
    except pickle.UnpicklingError as error:
        raise AuditError(
            f"update: {path.name} is damaged or holds pickled objects, which could run code when read; save a plain "
            "dictionary of tensors with torch.save, or use .safetensors."
        ) from error
    except (*UNREADABLE, TypeError) as error:
        cause = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise AuditError(f"update: cannot read {path.name}: {cause.rstrip('.')}.") from error
    return _tensors(found, path.name)


def _tensors(found: Any, name: str) -> Raw:
    for key in NESTED_UNDER:
        if isinstance(found, Mapping) and isinstance(found.get(key), (Mapping, list, tuple)):
            found = found[key]
    if isinstance(found, Mapping) and found and all(str(key).startswith(POSITIONAL) for key in found):
        found = [found[key] for key in sorted(found, key=_position)]
    if not isinstance(found, (Mapping, Sequence)) or isinstance(found, str) or not found:
        raise AuditError(f"update: {name} holds no tensors; save a dictionary of name and tensor in it.")
    pairs = list(found.items() if isinstance(found, Mapping) else enumerate(found))
    for key, value in pairs:
        if not isinstance(value, (Tensor, np.ndarray)):
            raise AuditError(f"update: {key} in {name} is no tensor but of type {type(value).__name__}; leave it out.")
    tensors = {str(key): torch.as_tensor(value) for key, value in pairs}
    return tensors if isinstance(found, Mapping) else tuple(tensors.values())


def _position(name: Any) -> int:
    rest = str(name).removeprefix(POSITIONAL)
    return int(rest) if rest.isdigit() else 0
