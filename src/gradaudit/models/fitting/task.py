"""What is trained: one value for each kind of network, so that one loop and one command serve all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..trained import NetworkArchitecture
from .fit import Trainer
from .image_set import ImageSet

TrainingScores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """A network to be trained.

    Args:
        kind: The kind of the asset, as in `Asset`.
        name: Name of its architecture.
        architecture: Its sizes.
        trainer: Returns the network in training, with weights from torch's global generator.
        scores: Returns the scores of the trained network, from the images it was trained on and those held out.
        told: Returns the scores in sentences.
        sheet: Returns a picture `[C, H, W]` that shows what the network does, from the images held out.
        options: Further choices that make it another training, by name.
    """

    kind: str
    name: str
    architecture: NetworkArchitecture[Any]
    trainer: Callable[[torch.device], Trainer]
    scores: Callable[[Any, ImageSet, ImageSet], TrainingScores]
    told: Callable[[Mapping[str, float]], list[str]]
    sheet: Callable[[Any, ImageSet], Tensor]
    options: tuple[tuple[str, object], ...] = ()


def rounded(network: nn.Module) -> nn.Module:
    """Return the network with its weights rounded to half precision, in which they are saved, in single precision."""
    return network.half().float()
