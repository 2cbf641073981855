"""The header of an array in a numpy archive, read before anything is allocated."""

from __future__ import annotations

import zipfile
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Header(NamedTuple):
    """The header of one array.

    Args:
        shape: Claimed shape.
        dtype: Type of the numbers.
        length: Number of bytes after the header, by the directory of the archive.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    length: int


def read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header | None:
    """Return the header of one member, or `None` for an array with fields or named types.

    A damaged member raises the errors of `zipfile` and numpy.
    """
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in READERS:
            return None
        shape, _, dtype = READERS[version](member)
        return Header(shape, dtype, info.file_size - member.tell())
