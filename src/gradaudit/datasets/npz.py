"""Pictures in a numpy `.npz` file."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import AuditError
from ._pictures import PixelArray, check_size
from .base import Source

KNOWN = ("images", "labels", "class_names", "names")
DAMAGED = (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Npz:
    """A numpy archive with `images` and, optionally, `labels`, `class_names` and `names`.

    `images` is `[N, H, W, C]` (C is 1 or 3) or `[N, H, W]`, uint8, or floating point in [0, 1]; `labels` is `[N]`
    integers from 0; `class_names` and `names` are arrays of strings, the latter one per picture (left out otherwise).

    Args:
        path: The file.
        size: Side in pixels to resize and centre-crop to; `None` leaves the pictures as they are.
    """

    path: Path
    size: int | None = None

    def open(self) -> Source:
        """Read the whole file into memory, without unpickling anything.

        Raises:
            AuditError: No such file, not an `.npz`, no `images`, or arrays of the wrong type, shape or range.
        """
        check_size("npz", self.size)
        arrays = _read(self.path)
        images = _checked_images(arrays["images"], self.path)
        class_names = _strings(arrays, "class_names")
        names = _strings(arrays, "names")
        labels = None
        if "labels" in arrays:
            labels = torch.from_numpy(_checked_labels(arrays["labels"], len(images), class_names, self.path))
        return Source(
            name="npz",
            description=f"{len(images)} pictures of the file {self.path.name}",
            pictures=PixelArray(torch.from_numpy(images).permute(0, 3, 1, 2), self.size),
            labels=labels,
            class_names=class_names,
            picture_names=names if len(names) == len(images) else (),
        )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise AuditError(f"npz: no file at {path} (paths are relative to the audit file).")
    if not zipfile.is_zipfile(path):
        raise AuditError(f"npz: {path} is not an .npz file; write one with numpy.savez(path, images=...).")
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = archive.files
            arrays = {key: archive[key] for key in keys if key in KNOWN}
    except DAMAGED as error:
        raise AuditError(f"npz: {path} is damaged or holds pickled objects ({type(error).__name__}).") from error
    if "images" not in arrays:
        raise AuditError(f"npz: {path} has no array named images; it holds {', '.join(keys) or 'nothing'}.")
    return arrays


def _strings(arrays: dict[str, np.ndarray], key: str) -> tuple[str, ...]:
    return tuple(str(entry) for entry in arrays[key].ravel()) if key in arrays else ()


def _checked_images(images: np.ndarray, path: Path) -> np.ndarray:
    """`[N, H, W, C]` uint8 or float32."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.size == 0:
        raise AuditError(
            f"npz: images in {path} has shape {list(images.shape)}; it must be [N, H, W, C] with C = 1 or 3, "
            "or [N, H, W], and not empty."
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise AuditError(f"npz: images in {path} is {images.dtype}; it must be uint8, or floating point in [0, 1].")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also where either is NaN
        raise AuditError(f"npz: images in {path} is floating point from {low:g} to {high:g}; it must lie in [0, 1].")
    return images.astype(np.float32)


def _checked_labels(labels: np.ndarray, count: int, class_names: tuple[str, ...], path: Path) -> np.ndarray:
    """`[N]` int64."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise AuditError(f"npz: labels in {path} is {labels.dtype} {list(labels.shape)}; it must be integers [N].")
    if len(labels) != count:
        raise AuditError(f"npz: {path} holds {count} images but {len(labels)} labels.")
    if labels.min() < 0 or (class_names and labels.max() >= len(class_names)):
        limit = f" to {len(class_names) - 1}, one per class name" if class_names else ""
        raise AuditError(
            f"npz: labels in {path} run from {labels.min()} to {labels.max()}; they must be 0{limit or ' or more'}."
        )
    return labels.astype(np.int64)
