"""Models that have a name in the audit file."""

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
    """A model that an audit file can name.

    A `NamedModel` that a module of `models/` binds to a public name is registered automatically.

    Args:
        name: Name in the audit file.
        modality: Modality of the examples that it takes.
        build: Function that returns the model with weights from torch's global generator. Its arguments depend on the
            modality: `(num_classes, channels, size)` for images, `(num_classes, vocabulary, *, length, pad_id)` for
            text and `(num_classes, features)` for rows of a table. The first line of its docstring is the one listed.
    """

    name: str
    modality: Modality
    build: Maker


def _name(value: Any) -> str | None:
    return value.name if isinstance(value, NamedModel) else None


NAMED_MODELS: Registry[NamedModel] = Registry("gradaudit.models", "gradaudit.models", _name, values_of(NamedModel))
"""Every named model of this and other packages, without torchvision's."""


class ModelsOf(Mapping[str, Maker]):
    """A mapping from names to the builders of the models of one modality."""

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
