"""Image files in a folder, with one sub-folder for each class or without classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ...values.errors import AuditError, printable
from ..image_arrays import check_size, require_pixels
from ..image_files import PictureFiles, header
from ._source import Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class Folder:
    """The image files in a folder, sorted by name and read when they are needed.

    Sub-folders with images are classes, and labels number the sub-folders in the order of their names (with empty ones,
    so that a class without an image keeps its number). Hidden files and folders are skipped. Images are converted to
    RGB unless all are grey. As in torchvision's `ImageFolder`, a rotation stored in a photograph is not applied.

    Args:
        path: The folder.
        size: Side in pixels to resize and centre-crop to; `None` if all images have one shape.
    """

    path: Path
    size: int | None = None

    def open(self) -> Source:
        """Read the headers of all images, and return the source.

        Raises:
            AuditError: There is no such folder, it has no images, an image cannot be read, or shapes differ and there
                is no `size`.
        """
        check_size("folder", self.size)
        if not self.path.is_dir():
            raise AuditError(f"folder: no folder at {self.path} (paths are relative to the audit file).")
        files, labels, classes = _listing(self.path)
        headers = [header(file, "folder") for file in files]
        if self.size is None:
            _check_equal(files, [(height, width) for height, width, _ in headers])
        grey = all(mode in ("L", "1") for _, _, mode in headers)
        pictures = PictureFiles(tuple(files), channels=1 if grey else 3, size=self.size, source="folder")
        require_pixels(pictures, f"folder: the images in {self.path}")
        return Source(
            name="folder",
            description=f"{len(files)} images of the folder {printable(self.path.name)}",
            pictures=pictures,
            labels=None if labels is None else torch.tensor(labels),
            class_names=classes,
            picture_names=tuple(printable(file.relative_to(self.path).as_posix()) for file in files),
        )


def _listing(root: Path) -> tuple[list[Path], list[int] | None, tuple[str, ...]]:
    """Return files, labels and class names; raise `AuditError` if there is no image, or both layouts are mixed."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    flat = sorted(entry for entry in root.iterdir() if _is_picture(entry, root))
    by_class = [sorted(_pictures_below(folder)) for folder in folders]
    filled = [folder for folder, files in zip(folders, by_class, strict=True) if files]
    if flat and filled:
        raise AuditError(
            f"folder: {root} contains both images ({flat[0].name}) and class folders ({filled[0].name}); keep one kind."
        )
    if flat:
        return flat, None, ()
    if not filled:
        raise AuditError(f"folder: no images in {root} (known endings: {', '.join(sorted(SUFFIXES))}).")
    labels = [label for label, files in enumerate(by_class) for _ in files]
    names = tuple(printable(folder.name) for folder in folders)
    return [file for files in by_class for file in files], labels, names


def _pictures_below(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.rglob("*") if _is_picture(entry, folder))


def _is_picture(entry: Path, root: Path) -> bool:
    """Return whether an entry has the name of an image file, and neither it nor a folder above it is hidden.

    Raises:
        AuditError: The entry has the name of an image file, but is not a regular file.
    """
    hidden = any(part.startswith(".") for part in entry.relative_to(root).parts)
    if hidden or entry.suffix.lower() not in SUFFIXES or entry.is_dir():
        return False
    if not entry.is_file():
        raise AuditError(f"folder: {entry} is not a file but a broken link, a loop of links or a device; remove it.")
    return True


def _check_equal(files: list[Path], shapes: list[tuple[int, int]]) -> None:
    for file, shape in zip(files, shapes, strict=True):
        if shape != shapes[0]:
            raise AuditError(
                f"folder: {files[0]} is {shapes[0][1]} x {shapes[0][0]} pixels but {file} is {shape[1]} x {shape[0]}; "
                "give all one shape with size: (for example size: 32)."
            )
