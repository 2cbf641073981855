"""What studies of networks measure beside an attack: IGSA, its relative form, and the recoverability of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from ..audit.recoverable import UNIFORM
from ..client.participant import Client, own_seed
from ..metrics.gradient_smoothness import SmoothnessEffort, gradient_smoothness
from ..metrics.linearisation import Linearised
from ..metrics.variance_bounds import LanczosEffort, estimated_ratios
from ..models.copying import private_copy
from ..protocol.local_training import LocalTraining
from ..values.types import Batch
from ._definition import Correlation, Table, Values

NOISE = 0.1  # standard deviation of the noise on each entry of the update, as a multiple of the update's norm
EXPLAINING = {"igsa": "IGSA", "igsa.relative": "IGSA, relative", "determined": "share of pixels determined"}
TABLE = Table(
    "Smoothness of the gradient, and what it determines",
    {"IGSA": "igsa", "IGSA, relative": "igsa.relative", "share of pixels determined": "determined", "error": "open"},
    digits=4,
    best="column",
    unranked=("igsa", "igsa.relative", "determined", "open"),
)
CAVEAT = (
    "The paper states neither norm, radius, number of points nor weights of IGSA, and whether it divides by the size "
    "of the gradient. Three numbers are printed: one over the mean of the Frobenius norms with weights that fall "
    "linearly with the depth, estimated by random probes, so that more is smoother; the same with every norm divided "
    "by that of the layer's gradient; and the share of the pixels that the gradient determines under noise of a tenth "
    "of its norm on every entry, which lies within the stated error."
)


@dataclass(frozen=True)
class Explained:
    """How much is computed to explain a leak.

    Args:
        smoothness: Points and probes of IGSA.
        steps: Steps of the Lanczos process that bounds the recoverability.
    """

    smoothness: SmoothnessEffort = SmoothnessEffort()
    steps: int = 16

    def of(self, client: Client, batch: Batch, seed: int) -> Values:
        """Return `igsa`, `igsa.relative`, `determined` (share of the pixels, in [0, 1]) and `open` (its error)."""
        function, pictures = _update_of(client, batch, seed), batch.inputs
        layers = entries_by_layer(client.training, client.model)
        found = gradient_smoothness(function, pictures, layers, self.smoothness, seed)
        line = Linearised(function, pictures)
        effort, noise = LanczosEffort(self.steps, probes=4), NOISE * float(line.value.norm())
        if not noise > 0:
            return {"igsa": found.raw, "igsa.relative": found.relative}
        ratios = next(iter(estimated_ratios(line, [noise], UNIFORM, effort)))
        determined = {"determined": 1 - ratios.mean, "open": ratios.error}
        return {"igsa": found.raw, "igsa.relative": found.relative, **determined}


def _update_of(client: Client, batch: Batch, seed: int) -> Callable[[Tensor], Tensor]:
    """Return the update of a client before its defenses as a function of its images, in the precision of its model.

    Double precision, as in `update_map`, takes ten times as long on a CPU.
    """
    model, drawn = private_copy(client.model), own_seed("training", seed, batch)

    def function(pictures: Tensor) -> Tensor:
        inputs = client.normalisation.apply(pictures)
        tensors = client.training(model, inputs, batch.labels, differentiable=True, seed=drawn)
        return torch.cat([tensor.flatten() for tensor in tensors])

    return function


def entries_by_layer(training: LocalTraining, model: nn.Module) -> list[int]:
    """Return the number of shared entries of each module with parameters, in the order of the model."""
    shared = training.shared_parameters(model)
    return [
        sum(shared[name].numel() for name in names) for _, names in groupby(shared, lambda one: one.rpartition(".")[0])
    ]


def correlations(leaks: Sequence[str], cells: tuple[str, ...] = (), where: str = "") -> tuple[Correlation, ...]:
    """Return the rank correlation of each explanation with each leak.

    Args:
        leaks: Columns of the leak.
        cells: Names of the cells that count; all of them if empty.
        where: Words for these cells, for the label.
    """
    suffix = f", {where}" if where else ""
    return tuple(
        Correlation(f"{words} against {leak}{suffix}", column, leak, cells)
        for leak in leaks
        for column, words in EXPLAINING.items()
    )
