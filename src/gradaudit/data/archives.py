"""Reading of numpy archives, whose sizes are checked first; private to this package."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..values.errors import AuditError
from ..values.memory import require_memory
from ..values.tensor_files.npz_headers import read_header


def read_arrays(path: Path, wanted: Iterable[str], source: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the `wanted` arrays of an `.npz` file, and the names of all its arrays. Nothing is unpickled.

    Args:
        path: The file.
        wanted: Names of arrays.
        source: Name for error messages.

    Raises:
        AuditError: The file does not exist, is not an archive, is damaged or encrypted, contains an array of objects or
            with a wrong length, or needs more memory than this machine has.
    """
    if not path.is_file():
        raise AuditError(f"{source}: no file at {path} (paths are relative to the audit file).")
    if not zipfile.is_zipfile(path):
        raise AuditError(f"{source}: {path} is not an .npz file; write one with numpy.savez(path, images=...).")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = [members[name] for name in dict.fromkeys(wanted) if name in members]
            needed = sum(_declared(archive, info, path, source) for info in chosen)
            require_memory(needed, f"{source}: {path}", "Write a part of it, or smaller images.")
            return {info.filename.removesuffix(".npy"): _read(archive, info) for info in chosen}, tuple(members)
    except (AuditError, MemoryError):
        raise
    except Exception as error:  # zipfile, its decompressors and numpy raise many kinds of errors for damaged files
        raise AuditError(f"{source}: {path} is damaged, or encrypted ({type(error).__name__}).") from error


def _declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, source: str) -> int:
    """Return the size of a member in bytes. Raise `AuditError` if its header and the archive's directory differ."""
    header = read_header(archive, info)
    if header is None:
        raise AuditError(f"{source}: {info.filename} in {path} is no plain array; it has fields or named types.")
    shape, dtype, length = header
    if dtype.hasobject:
        raise AuditError(f"{source}: {info.filename} in {path} holds pickled objects; write numbers or text.")
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != length:
        found = f"its header claims {list(shape)} of {dtype}, {claimed} bytes, but {length} follow"
        raise AuditError(f"{source}: {info.filename} in {path} is damaged: {found}.")
    return length


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        return npy.read_array(file, allow_pickle=False)
