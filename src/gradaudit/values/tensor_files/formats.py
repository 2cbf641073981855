"""Readers of the file formats for tensors. None of them executes code from a file."""

from __future__ import annotations

import lzma
import math
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from .forms import require_room
from .npz_headers import read_header

PICKLED = (".pkl", ".pickle", ".joblib", ".dill")
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    KeyError,
    TypeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    safetensors.SafetensorError,
)
"""What the readers raise for a file that is damaged or does not match its extension."""

FileContents = tuple[Any, dict[str, str]]
"""The contents of a file, and its metadata (name -> text)."""


def from_safetensors(path: Path) -> FileContents:
    """Return name -> tensor, and the metadata block."""
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def from_torch(path: Path) -> FileContents:
    """Return what `torch.save` wrote. Raise `pickle.UnpicklingError` if it contains other objects than tensors."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            require_room(sum(info.file_size for info in archive.infolist()))
    try:
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except OSError:
        raise
    except Exception as error:  # torch's restricted reader may raise any error for bytes that are not a pickle
        raise pickle.UnpicklingError(str(error)) from error


def from_numpy(path: Path) -> FileContents:
    """Return name -> array of an `.npz` archive. Its headers are checked before anything is allocated."""
    if not zipfile.is_zipfile(path):
        raise ValueError("not an .npz archive")
    with zipfile.ZipFile(path) as archive:
        require_room(sum(_claimed(archive, info) for info in archive.infolist()))
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}, {}


READERS: dict[str, Callable[[Path], FileContents]] = {
    ".safetensors": from_safetensors,
    ".pt": from_torch,
    ".pth": from_torch,
    ".npz": from_numpy,
}
ENDINGS = tuple(READERS)
"""Extensions of the supported files."""


def _claimed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Return the size of one array by its header, in bytes. Raise `ValueError` if the archive has fewer."""
    header = read_header(archive, info)
    if header is None:
        raise ValueError(f"{info.filename} holds records, not numbers")
    claimed = math.prod(header.shape) * header.dtype.itemsize
    if not header.dtype.hasobject and not 0 <= claimed <= header.length:
        raise ValueError(f"{info.filename} claims the shape {list(header.shape)}, for which it is too short")
    return claimed
