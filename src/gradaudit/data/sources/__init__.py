"""Where the private examples of an audit come from: one file per source."""

from __future__ import annotations

from ._source import Source, SourceOptions
from .folder import Folder
from .npz import Npz
from .photographs import Photographs
from .table_files import Tables
from .texts import Texts
from .torchvision_sets import Cifar10, Cifar100, FashionMnist, Flowers102, ImageNet, Stl10

SOURCES: dict[str, type[SourceOptions]] = {
    "photographs": Photographs,
    "folder": Folder,
    "npz": Npz,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "fashion-mnist": FashionMnist,
    "stl10": Stl10,
    "flowers102": Flowers102,
    "imagenet": ImageNet,
    "text": Texts,
    "table": Tables,
}
"""Name in the audit file (`data.source`) -> options, validated with pydantic and then opened."""

__all__ = [
    "SOURCES",
    "Cifar10",
    "Cifar100",
    "FashionMnist",
    "Flowers102",
    "Folder",
    "ImageNet",
    "Npz",
    "Photographs",
    "Source",
    "SourceOptions",
    "Stl10",
    "Tables",
    "Texts",
]
