"""A trained auto-encoder, named by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..trained import TrainedNetwork
from . import AUTO_ENCODERS


@dataclass(frozen=True)
class AutoEncoder(TrainedNetwork[nn.Module]):
    """A trained auto-encoder by its name or file, which `gradaudit train auto-encoder` wrote.

    Args:
        source: Name of an asset of this package or of the folder that GRADAUDIT_ASSETS names, or the path of a file.
    """

    kind: ClassVar[str] = "auto-encoder"
    architectures: ClassVar[Mapping[str, Any]] = AUTO_ENCODERS
