"""A trained denoising network, named by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..trained import TrainedNetwork
from . import DENOISING_NETWORKS


@dataclass(frozen=True)
class DenoisingNetwork(TrainedNetwork[nn.Module]):
    """A trained denoiser by its name or file, which `gradaudit train denoiser` wrote.

    Args:
        source: Name of an asset of this package or of the folder that GRADAUDIT_ASSETS names, or the path of a file.
    """

    kind: ClassVar[str] = "denoiser"
    architectures: ClassVar[Mapping[str, Any]] = DENOISING_NETWORKS
