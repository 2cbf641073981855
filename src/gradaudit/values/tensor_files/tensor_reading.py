"""Reading the tensors of a file."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import AuditError, in_one_line
from ..files import is_file
from .formats import ENDINGS, PICKLED, READERS, UNREADABLE
from .forms import one_form, precision, require_room
from .nesting import require_all, unwrapped


@dataclass(frozen=True, eq=False)
class TensorFile:
    """The tensors of a file, dense, strided, contiguous, on the CPU and without a graph.

    Args:
        name: Name of the file, without its folder.
        tensors: Name (or position, without names) -> tensor, or `None` if the file contains `None`.
        named: Whether the file has names.
        stored: Name -> precision in the file, such as `float16`.
        metadata: The metadata block of a `.safetensors` file, otherwise empty.
    """

    name: str
    tensors: Mapping[str, Tensor | None]
    named: bool = True
    stored: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_tensor_file(path: Path, what: str) -> TensorFile:
    """Return the tensors of a checkpoint, an update, or another file of tensors.

    Tensors nested under a usual key, such as `model` or `state_dict`, are found. A list of tensors, or an `.npz`
    archive of arrays without names, is returned without names. float8 and quantised tensors become float32.

    Args:
        path: `.safetensors`; `.pt` or `.pth` with plain tensors (`weights_only`); or `.npz` without objects.
        what: `"update"` or `"weights"`, for error messages.

    Raises:
        AuditError: The file does not exist, has an unknown or unsafe format, is damaged, claims more memory than the
            machine has, contains no tensors, or contains something else.
    """
    found, metadata = _contents(path, what)
    try:
        found = unwrapped(found)
        named = isinstance(found, Mapping)
        entries = {str(key): value for key, value in (found.items() if named else enumerate(found))}
        require_all(found, metadata)
        require_room(sum(map(_bytes, entries.values())))
    except ValueError as reason:
        raise AuditError(f"{what}: {path.name} {reason}.") from reason
    stored = {name: precision(value) for name, value in entries.items() if value is not None}
    tensors = {name: _formed(value, f"{what}: {name} in {path.name}", named) for name, value in entries.items()}
    return TensorFile(path.name, tensors, named, stored, metadata)


def _contents(path: Path, what: str) -> tuple[Any, dict[str, str]]:
    ending = path.suffix.lower()
    if not is_file(path):
        raise AuditError(f"{what}: no file at {path}.")
    if ending in PICKLED:
        raise AuditError(
            f"{what}: {path.name} is a pickle, which can run code when read; save arrays with numpy.savez, or tensors "
            "as .safetensors or with torch.save(dict of tensors)."
        )
    if ending not in READERS:
        raise AuditError(f"{what}: {path.name} has an unknown format; give one of {', '.join(ENDINGS)}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about deprecated storages, sparse tensors, TorchScript archives, old headers
            return READERS[ending](path)
    except pickle.UnpicklingError as error:
        raise AuditError(
            f"{what}: {path.name} is damaged or holds pickled objects, which could run code when read; save "
            "model.state_dict() or a plain dictionary of tensors with torch.save, arrays with numpy.savez, or use "
            ".safetensors."
        ) from error
    except UNREADABLE as error:
        raise AuditError(f"{what}: cannot read {path.name}: {in_one_line(error)}") from error


def _formed(value: Any, subject: str, named: bool) -> Tensor | None:
    if value is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from torch, about layouts and precisions in beta
            return one_form(value)
    except ValueError as reason:
        no_tensor = not isinstance(value, (Tensor, np.ndarray))
        fix = (
            "; leave it out" if named else "; the place of a missing tensor takes None"
        )  # omitting it would shift the others
        raise AuditError(f"{subject} {reason}{fix if no_tensor else ''}.") from reason


def _bytes(value: Any) -> int:
    """Return the size of the dense tensor of `value` in bytes; 0 if it is not a tensor or already allocated."""
    sized = isinstance(value, Tensor) and not value.is_nested and not value.is_meta
    return value.numel() * value.element_size() if sized else 0
