"""Public data sets on the user's disk in torchvision's layout; nothing is downloaded or unpacked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torchvision import datasets

from ...values.errors import AuditError
from ..image_arrays import PixelArray, check_size, require_pixels
from ..image_files import PictureFiles
from ._source import Source

Split = Literal["train", "test"]


@dataclass(frozen=True)
class OnDisk:
    """The options that all these data sets have in common.

    Args:
        path: The folder that torchvision calls the root.
        split: The part of the data set.
        size: Side in pixels to resize and centre-crop to; `None` leaves the images as they are.
    """

    path: Path
    split: Split = "test"
    size: int | None = None

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise AuditError(f"data: split must be train or test, got {self.split}.")


@dataclass(frozen=True)
class Cifar10(OnDisk):
    """CIFAR-10 (Krizhevsky 2009): 3 x 32 x 32, 10 classes."""

    def open(self) -> Source:
        """Read the split into memory and return the source; raise `AuditError` if torchvision finds it incomplete."""
        expected = "cifar-10-batches-py/ with data_batch_1 to data_batch_5, test_batch and batches.meta"
        return _cifar("cifar10", datasets.CIFAR10, self.path, self.split, self.size, expected)


@dataclass(frozen=True)
class Cifar100(OnDisk):
    """CIFAR-100 (Krizhevsky 2009): 3 x 32 x 32, 100 classes."""

    def open(self) -> Source:
        """Read the split into memory and return the source; raise `AuditError` if torchvision finds it incomplete."""
        expected = "cifar-100-python/ with train, test and meta"
        return _cifar("cifar100", datasets.CIFAR100, self.path, self.split, self.size, expected)


@dataclass(frozen=True)
class FashionMnist(OnDisk):
    """Fashion-MNIST (Xiao et al. 2017): 1 x 28 x 28, 10 classes."""

    def open(self) -> Source:
        """Read the split into memory and return the source; raise `AuditError` if torchvision finds it incomplete."""
        check_size("fashion-mnist", self.size)
        expected = "FashionMNIST/raw/ with the images and labels of train and t10k (*-ubyte, unpacked)"
        data = _load(
            lambda: datasets.FashionMNIST(self.path, train=self.split == "train"), "fashion-mnist", self.path, expected
        )
        pixels = PixelArray(data.data[:, None], self.size)
        return _source("fashion-mnist", "Fashion-MNIST", self.split, pixels, data.targets, data.classes)


@dataclass(frozen=True)
class Stl10(OnDisk):
    """STL-10 (Coates et al. 2011): 3 x 96 x 96, 10 classes."""

    def open(self) -> Source:
        """Read the split into memory and return the source; raise `AuditError` if torchvision finds it incomplete."""
        check_size("stl10", self.size)
        expected = (
            "stl10_binary/ with train_X.bin, train_y.bin, test_X.bin, test_y.bin, unlabeled_X.bin and class_names.txt"
        )
        data = _load(lambda: datasets.STL10(self.path, split=self.split), "stl10", self.path, expected)
        pixels = PixelArray(torch.from_numpy(data.data), self.size)
        return _source("stl10", "STL-10", self.split, pixels, data.labels, getattr(data, "classes", ()))


@dataclass(frozen=True)
class Flowers102(OnDisk):
    """Oxford Flowers-102 (Nilsback and Zisserman 2008), 102 classes; images are read when they are needed."""

    size: int = 224

    def open(self) -> Source:
        """Read the list of images and return the source; raise `AuditError` if torchvision does not find them."""
        check_size("flowers102", self.size)
        expected = "flowers-102/ with jpg/, imagelabels.mat and setid.mat"
        data = _load(lambda: datasets.Flowers102(self.path, split=self.split), "flowers102", self.path, expected)
        pictures = PictureFiles(tuple(map(Path, data._image_files)), 3, self.size, "flowers102")
        return _source("flowers102", "Flowers-102", self.split, pictures, data._labels, getattr(data, "classes", ()))


@dataclass(frozen=True)
class ImageNet(OnDisk):
    """ImageNet (ILSVRC 2012), 1 000 classes; images are read when they are needed."""

    name: ClassVar[str] = "imagenet"
    size: int = 224

    def open(self) -> Source:
        """Read the list of images and return the source.

        Raises:
            AuditError: The folders are missing, or contain fewer classes than `meta.bin` names, so that the labels
                would not be ImageNet's.
        """
        check_size("imagenet", self.size)
        part = "train" if self.split == "train" else "val"
        expected = f"{part}/ with a sub-folder per WordNet id, and meta.bin (torchvision.datasets.ImageNet writes it)"
        # This is checked first, because torchvision would unpack archives that it finds here: hours, and 150 GB.
        if not ((self.path / part).is_dir() and (self.path / "meta.bin").is_file()):
            raise AuditError(_missing("imagenet", self.path, expected))
        data = _load(lambda: datasets.ImageNet(self.path, split=part), "imagenet", self.path, expected)
        known = len(datasets.imagenet.load_meta_file(self.path)[0])
        if len(data.wnids) != known:
            raise AuditError(
                f"imagenet: {self.path / part} contains {len(data.wnids)} classes but meta.bin names {known}; "
                "for a part of ImageNet use source: folder."
            )
        names = [names[0] for names in data.classes]
        pictures = PictureFiles(tuple(Path(path) for path, _ in data.samples), 3, self.size, "imagenet")
        return _source("imagenet", "ImageNet", part, pictures, data.targets, names)


def _cifar(name: str, kind: type, path: Path, split: Split, size: int | None, expected: str) -> Source:
    check_size(name, size)
    with warnings.catch_warnings():
        # The published pickles contain a flag as 0 where numpy 2.4.0 to 2.4.4 expect False.
        warnings.filterwarnings("ignore", r"dtype\(\): align", np.exceptions.VisibleDeprecationWarning)
        data = _load(lambda: kind(path, train=split == "train"), name, path, expected)
    pixels = PixelArray(torch.from_numpy(data.data).permute(0, 3, 1, 2), size)
    return _source(name, name.upper().replace("CIFAR", "CIFAR-"), split, pixels, data.targets, data.classes)


def _load(make: Callable[[], Any], name: str, path: Path, expected: str) -> Any:
    """Return the torchvision data set; `download` is always `False`."""
    try:
        return make()
    except Exception as error:  # the exception for a damaged file depends on where the damage is
        raise AuditError(_missing(name, path, expected)) from error


def _missing(name: str, path: Path, expected: str) -> str:
    return (
        f"{name}: torchvision finds no complete {name} in {path} (paths are relative to the audit file); "
        f"it expects there {expected}; gradaudit never downloads."
    )


def _source(name: str, title: str, split: str, pictures: Any, labels: Any, class_names: Any) -> Source:
    if len(labels) != len(pictures):
        raise AuditError(f"{name}: contains {len(pictures)} images but {len(labels)} labels; download its files again.")
    require_pixels(pictures, f"{name}: the {split} images")
    return Source(
        name=name,
        description=f"the {len(pictures)} {split} images of {title}",
        pictures=pictures,
        labels=torch.as_tensor(labels).to(torch.int64),
        class_names=tuple(str(entry) for entry in class_names),
    )
