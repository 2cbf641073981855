"""Images in a numpy `.npz` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...values.errors import AuditError, printable
from ..archives import read_arrays
from ..image_arrays import PixelArray, check_size, require_pixels
from ._source import Source

KNOWN = ("images", "labels", "targets", "class_names", "names")


@dataclass(frozen=True)
class Npz:
    """A numpy archive with `images` and, optionally, `labels`, `class_names` and `names`.

    `images` is `[N, H, W, C]` (C is 1 or 3) or `[N, H, W]`, either uint8 or floating point in [0, 1]. `labels` is `[N]`
    integers from 0. `class_names` and `names` are arrays of strings; `names` is ignored unless it has one entry for
    each image. For a loss without classes, `targets` replaces `labels`: numbers `[N]` or `[N, D]`, or integer masks
    `[N, H, W]`, which are not resized.

    Args:
        path: The file.
        size: Side in pixels to resize and centre-crop to; `None` leaves the images as they are.
    """

    path: Path
    size: int | None = None

    def open(self) -> Source:
        """Read the whole file into memory without unpickling anything, and return the source.

        Raises:
            AuditError: There is no such file, it is not an `.npz`, it has no `images`, or an array has a wrong type,
                shape or range.
        """
        check_size("npz", self.size)
        arrays, held = read_arrays(self.path, KNOWN, "npz")
        if "images" not in arrays:
            raise AuditError(f"npz: {self.path} has no array named images; it contains {', '.join(held) or 'nothing'}.")
        images = _checked_images(arrays["images"], self.path)
        class_names = _strings(arrays, "class_names", self.path)
        names = _strings(arrays, "names", self.path)
        labels = None
        if "labels" in arrays:
            labels = torch.from_numpy(_checked_labels(arrays["labels"], len(images), class_names, self.path))
        if "targets" in arrays:
            labels = torch.from_numpy(_checked_targets(arrays["targets"], len(images), self))
        pictures = PixelArray(torch.from_numpy(images).permute(0, 3, 1, 2), self.size)
        require_pixels(pictures, f"npz: images in {self.path}")
        return Source(
            name="npz",
            description=f"{len(images)} images of the file {printable(self.path.name)}",
            pictures=pictures,
            labels=labels,
            class_names=class_names,
            picture_names=names if len(names) == len(images) else (),
        )


def _strings(arrays: dict[str, np.ndarray], key: str, path: Path) -> tuple[str, ...]:
    """Return the printable strings of an array of text; none if it is missing."""
    if key not in arrays:
        return ()
    if arrays[key].dtype.kind not in "US" or arrays[key].ndim != 1:
        found = f"{arrays[key].dtype} {list(arrays[key].shape)}"
        raise AuditError(f"npz: {key} in {path} is {found}; it must be text [N], such as numpy.array(['cat', 'dog']).")
    entries = arrays[key].tolist()
    return tuple(printable(e.decode("utf-8", "backslashreplace") if isinstance(e, bytes) else e) for e in entries)


def _checked_images(images: np.ndarray, path: Path) -> np.ndarray:
    """Return the images as `[N, H, W, C]` uint8 or float32; raise `AuditError` if they do not fit."""
    shape = list(images.shape)
    if images.ndim == 3 and shape[-1] in (1, 3, 4):
        raise AuditError(f"npz: images in {path} has shape {shape}, which looks like one image; write images[None].")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.size == 0:
        turn = (
            " Convert [N, C, H, W] with images.transpose(0, 2, 3, 1)."
            if images.ndim == 4 and shape[1] in (1, 3)
            else ""
        )
        raise AuditError(
            f"npz: images in {path} has shape {shape}; it must be [N, H, W, C] with C = 1 or 3, "
            f"or [N, H, W], and not empty.{turn}"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise AuditError(
            f"npz: images in {path} is {images.dtype}; it must be uint8, or floating point in [0, 1]: divide it by the "
            "largest possible value."
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also where either is NaN
        raise AuditError(f"npz: images in {path} is floating point from {low:g} to {high:g}; it must lie in [0, 1].")
    return images.astype(np.float32)


def _checked_labels(labels: np.ndarray, count: int, class_names: tuple[str, ...], path: Path) -> np.ndarray:
    """Return the labels as `[N]` int64; raise `AuditError` if they do not fit."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise AuditError(f"npz: labels in {path} is {labels.dtype} {list(labels.shape)}; it must be integers [N].")
    if len(labels) != count:
        raise AuditError(f"npz: {path} contains {count} images but {len(labels)} labels.")
    if labels.min() < 0 or (class_names and labels.max() >= len(class_names)):
        limit = f" to {len(class_names) - 1}, one per class name" if class_names else ""
        raise AuditError(
            f"npz: labels in {path} run from {labels.min()} to {labels.max()}; they must be 0{limit or ' or more'}."
        )
    if labels.max() > np.iinfo(np.int64).max:
        raise AuditError(
            f"npz: labels in {path} run up to {labels.max()}, which is not a class; they must count from 0."
        )
    return labels.astype(np.int64)


def _checked_targets(targets: np.ndarray, count: int, options: Npz) -> np.ndarray:
    """Return the targets as `[N, ...]` float32 or int64; raise `AuditError` if they do not fit."""
    path, found = options.path, f"{targets.dtype} {list(targets.shape)}"
    if targets.dtype.kind not in "biuf" or not 1 <= targets.ndim <= 3 or len(targets) != count:
        raise AuditError(f"npz: targets in {path} is {found}; it must be numbers [{count}, ...], one to three axes.")
    if targets.ndim == 3 and options.size is not None:
        raise AuditError("npz: size would resize the images but not the masks in targets; remove size.")
    if targets.dtype.kind == "f":
        if not np.isfinite(targets).all():
            raise AuditError(f"npz: targets in {path} contains NaN or infinity; fix it.")
        return targets.astype(np.float32)
    return targets.astype(np.int64)
