"""A trained generator, named by value."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...values.errors import AttackFailed
from ...values.validation import Checked
from ..assets import Asset, open_asset
from . import GENERATORS
from ._generator_architecture import GeneratorArchitecture
from ._generator_network import GeneratorNetwork
from .dcgan import DCGAN

KIND = "generator"


@dataclass(frozen=True)
class Generator(Checked):
    """A trained generator by its name or file, so that an attack that uses it can be printed and made again.

    A file that `gradaudit train generator` wrote says what it contains. Another file of weights is read as a DCGAN,
    whose sizes follow from the shapes of its tensors.

    Args:
        source: Name of an asset of this package or of the folder that GRADAUDIT_ASSETS names, or the path of a file.
    """

    source: str

    def open(self) -> tuple[GeneratorNetwork, Asset]:
        """Return the network in evaluation mode without gradients, on the CPU, and the file it came from.

        Raises:
            AttackFailed: There is no such file, or it is no generator.
        """
        asset = open_asset(self.source, KIND)
        architecture = _said(asset) if asset.architecture else _inferred(asset)
        network = architecture.build()
        _load(network, asset)
        return network.eval().requires_grad_(False), asset


def _said(asset: Asset) -> GeneratorArchitecture:
    kind = GENERATORS.get(asset.architecture)
    if kind is None:
        raise AttackFailed(f"{asset.source}: unknown generator {asset.architecture!r}; known: {', '.join(GENERATORS)}.")
    return _made(kind, asset.settings, asset)


def _made(kind: type[GeneratorArchitecture], settings: Mapping[str, Any], asset: Asset) -> GeneratorArchitecture:
    try:
        return kind(**settings)
    except TypeError as error:
        raise AttackFailed(f"{asset.source}: its description does not fit {asset.architecture}: {error}.") from error


def _inferred(asset: Asset) -> DCGAN:
    """Return the DCGAN whose transposed convolutions have the shapes of the file."""
    kernels = [tuple(value.shape) for value in asset.state.values() if value.ndim == 4]
    fits = len(kernels) > 2 and all(here[1] == there[0] for here, there in itertools.pairwise(kernels))
    if not fits or any(shape[2:] != (4, 4) for shape in kernels[1:-1]) or kernels[-1][2] not in (1, 4):
        raise AttackFailed(
            f"{asset.source} does not say which generator it is, and its tensors are not those of a DCGAN. Make one "
            "with `gradaudit train generator`."
        )
    latent, width, last = kernels[0][0], kernels[-1][0], kernels[-1][2]
    size = kernels[0][2] * 2 ** (len(kernels) - 2 + (last == 4))
    return DCGAN(channels=kernels[-1][1], size=size, latent=latent, width=width, last=1 if last == 1 else 4)


def _load(network: GeneratorNetwork, asset: Asset) -> None:
    """Load the tensors by name or, from a file of other names, by position."""
    own = network.state_dict()
    given: Mapping[str, Tensor] = asset.state
    if not set(own) <= set(given):
        given = dict(zip(own, given.values(), strict=False))
    wrong = next((name for name in own if name not in given or given[name].shape != own[name].shape), None)
    if wrong or len(asset.state) != len(own):
        raise AttackFailed(f"{asset.source}: its tensors do not fit the generator (at {wrong or 'its last tensor'}).")
    network.load_state_dict({name: given[name].to(own[name]) for name in own})
