"""What the header of an array in a numpy archive claims, before anything is allocated for it."""

from __future__ import annotations

import zipfile
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Header(NamedTuple):
    """The header of one array.

    Args:
        shape: That it claims.
        dtype: Of its numbers.
        length: Bytes that follow the header, by the archive's directory.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    length: int


def read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header | None:
    """The header of one member; `None` for an array with fields or named types, which has another kind of header.

    Raises what `zipfile` and numpy raise on a damaged one.
    """
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version not in READERS:
            return None
        shape, _, dtype = READERS[version](member)
        return Header(shape, dtype, info.file_size - member.tell())
