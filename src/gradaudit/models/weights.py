"""Weights from a file, read without running any code of the file."""

from __future__ import annotations

import lzma
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import AuditError
from ._causes import in_one_line

# What data-parallel wrappers, torch.compile and Opacus put in front of every name.
PREFIXES = ("module.", "_orig_mod.", "_module.")
NESTED_UNDER = ("state_dict", "model_state_dict")
OPTIONAL = "num_batches_tracked"
LISTED = 5
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    safetensors.SafetensorError,
)


def load_weights(model: nn.Module, path: Path) -> None:
    """Set all parameters and buffers of `model` from a file; on an error the model is as before.

    A dictionary nested under `state_dict` is unwrapped, the prefixes of wrappers are dropped, and BatchNorm's
    `num_batches_tracked` may be missing.

    Args:
        model: Takes the values on its own devices and in its own precisions.
        path: `.safetensors`; `.pt` or `.pth` with plain tensors (`weights_only`); or `.npz` without objects.

    Raises:
        AuditError: No such file, an unknown ending, a file that would need unpickling, or names and shapes that do
            not fit the model.
    """
    if not path.is_file():
        raise AuditError(f"weights: no file at {path} (paths are relative to the audit file).")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise AuditError(f"weights: cannot tell what {path.name} is; give one of {', '.join(READERS)}.")
    try:
        found: Any = reader(path)
    except pickle.UnpicklingError as error:
        raise AuditError(
            f"weights: {path} is damaged or holds pickled objects, which could run code when read; "
            "save model.state_dict() alone with torch.save, or use .safetensors."
        ) from error
    except UNREADABLE as error:
        raise AuditError(f"weights: cannot read {path}: {in_one_line(error)}") from error
    expected = model.state_dict()
    found = _without_prefixes(_unwrapped(found, path), expected)
    _check_fit(expected, found, path)
    model.load_state_dict(expected | found)


def _from_torch(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on a TorchScript archive, which raises as well
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # torch's restricted reader raises anything on bytes that are no pickle
            raise pickle.UnpicklingError(str(error)) from error


def _from_numpy(path: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(path):
        raise ValueError("not an .npz archive")
    with np.load(path, allow_pickle=False) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": safetensors.torch.load_file,
    ".pt": _from_torch,
    ".pth": _from_torch,
    ".npz": _from_numpy,
}


def _unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    for key in NESTED_UNDER:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise AuditError(f"weights: {path} holds no names with tensors; save model.state_dict() in it.")
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise AuditError(f"weights: {name} in {path} is no tensor; save model.state_dict() alone.")
    return {str(name): value for name, value in found.items()}


def _without_prefixes(found: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`found` with the wrappers' prefixes dropped for as long as all names carry one that the model has not."""
    while not found.keys() <= expected.keys():
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    missing = [name for name in expected if name not in found and not name.endswith(OPTIONAL)]
    unexpected = [name for name in found if name not in expected]
    shapes = [
        f"{name} is {list(found[name].shape)} there but {list(value.shape)} in the model"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    faults = [
        f"{what} {_listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("other shapes:", shapes))
        if names
    ]
    if faults:
        raise AuditError(f"weights: {path.name} does not fit the model: {'; '.join(faults)}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
