"""Networks that have a name in the audit file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..values.discovery import Registry, values_of
from ..values.types import Modality

Maker = Callable[..., nn.Module]


@dataclass(frozen=True)
class NamedModel:
    """A network that an audit file may name. A module of `models/` that binds one to a public name adds it.

    Args:
        name: In the audit file.
        modality: Of the examples that it takes.
        build: Returns it with weights from torch's global generator. Its arguments are those of its modality:
            `(num_classes, channels, size)` for pictures, `(num_classes, vocabulary, *, length, pad_id)` for text and
            `(num_classes, features)` for rows of a table. Its docstring begins with the line that is listed.
    """

    name: str
    modality: Modality
    build: Maker


def _name(value: Any) -> str | None:
    return value.name if isinstance(value, NamedModel) else None


NAMED_MODELS: Registry[NamedModel] = Registry("gradaudit.models", "gradaudit.models", _name, values_of(NamedModel))
"""Every network of this package and of others that has a name; torchvision's come on top."""


class ModelsOf(Mapping[str, Maker]):
    """Name -> builder of the networks of one modality."""

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def __getitem__(self, name: str) -> Maker:
        found = NAMED_MODELS[name]
        if found.modality != self.modality:
            raise KeyError(name)
        return found.build

    def __iter__(self) -> Iterator[str]:
        return (name for name, found in NAMED_MODELS.items() if found.modality == self.modality)

    def __len__(self) -> int:
        return sum(1 for _ in self)
