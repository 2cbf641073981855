"""What the parametrisations by a trained generator have in common: the generator, opened for one observation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....models.assets import Asset
from ....models.generators import GeneratorNetwork
from ....models.generators.dcgan import DCGAN
from ....models.generators.trained_generator import Generator
from ....models.generators.untrained import Untrained
from ....protocol.observation import Observation
from ....values.chance import forked
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ..part import Candidate, Parametrisation, require_batch_size

AnyGenerator = Generator | Untrained
"""A trained generator, or the same architecture with random weights."""

NAME_IT = "Name it beside the attack: `generator: FILE`."
HOW = f"Make one from images like the client's: `gradaudit train generator --data DATA --out FILE`. {NAME_IT}"


@dataclass(frozen=True, eq=False)
class OpenGenerator:
    """A generator as one attack uses it.

    Args:
        network: The network, on the device and in the type of the update.
        asset: The file that it came from.
        seen: The observation, with the labels of the run.
        labels: `[B]` integers or `[B, K]` probabilities, which a class-conditional generator takes; `None` otherwise.
        size: B.
    """

    network: GeneratorNetwork
    asset: Asset
    seen: Observation
    labels: Tensor | None
    size: int

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence that says which generator was used, and what it was trained on as far as the file says."""
        asset = self.asset
        if not asset.digest:
            return (f"The generator is not trained: {asset.source}.",)
        data = asset.facts.get("data")
        trained = f"trained on {data}" if data else "whose file does not say what it was trained on"
        kind = f"{asset.architecture} " if asset.architecture else ""
        return (f"The generator is {kind}{Path(asset.source).name} (SHA-256 {asset.digest[:16]}), {trained}.",)

    def draw(self, seeds: int) -> Tensor:
        """Return latent vectors `[S, B, latent]` from N(0, 1)."""
        like = self.seen.update.values[0]
        return torch.randn(seeds, self.size, self.network.latent, device=like.device, dtype=like.dtype)

    def features(self, z: Tensor, block: int) -> Tensor:
        """Return the output `[S, B, ...]` of a block, counted from 0, for latent vectors `[S, B, latent]`."""
        entry = self.network.entry(z.flatten(0, 1), self._labels(len(z)))
        return self.between(entry.unflatten(0, z.shape[:2]), 0, block + 1)

    def between(self, features: Tensor, first: int, end: int) -> Tensor:
        """Return `[S, B, ...]` after the blocks from `first` on and before `end`."""
        flat = features.flatten(0, 1)
        for block in self.network.blocks[first:end]:
            flat = block(flat)
        return flat.unflatten(0, features.shape[:2])

    def inputs(self, pixels: Tensor) -> Tensor:
        """Return normalised inputs `[S, B, C, H, W]` from the output of the last block."""
        return self.seen.normalisation.apply(self.network.finish(pixels))

    @property
    def last(self) -> int:
        """The number of the last block, which gives the pixels."""
        return len(self.network.blocks) - 1

    def _labels(self, seeds: int) -> Tensor | None:
        return None if self.labels is None else self.labels.repeat(seeds, *[1] * (self.labels.ndim - 1))


@dataclass(frozen=True)
class ByGenerator(Parametrisation):
    """A parametrisation whose images a generator makes.

    Args:
        generator: The generator.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.GENERATOR
    modality: ClassVar[Modality] = Modality.PICTURES
    example: ClassVar[tuple[Any, ...]] = (Untrained(DCGAN(channels=1, size=8, latent=4, width=4)),)
    generator: AnyGenerator = Generator("fashion-dcgan")

    def require_inputs(self, shape: tuple[int, ...]) -> None:
        """Raise `AttackFailed` if the generator is missing or its images have another shape."""
        require_shape(self.generator, network_of(self.generator)[0], shape)


class FromGenerator(Candidate):
    """A candidate whose images a generator makes."""

    def __init__(self, generator: OpenGenerator, variables: dict[str, Tensor], constants: dict[str, Tensor]) -> None:
        self.generator, self.variables, self.constants = generator, variables, constants

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Which generator was used."""
        return self.generator.notes

    def after(self, block: int) -> Tensor:
        """Return the features `[S, B, ...]` after a block, counted from 0.

        Raise `AttackFailed` if the candidate's variables come later.
        """
        raise NotImplementedError

    def latents(self) -> Tensor:
        """Return the latent vectors `[S, B, latent]`. Raise `AttackFailed` if the variables come later."""
        raise AttackFailed("the previous stage has no latent vectors. Let a stage of Latent come before this one.")

    def decode(self) -> Tensor:
        """Return the normalised images `[S, B, C, H, W]`."""
        return self.generator.inputs(self.after(self.generator.last))


def network_of(generator: AnyGenerator) -> tuple[GeneratorNetwork, Asset]:
    """Open a generator without drawing from the random state of the attack. Raise `AttackFailed` if it has no file."""
    try:
        with forked(torch.device("cpu")):
            return generator.open()
    except AttackFailed as error:
        raise AttackFailed(f"{error} {NAME_IT}") from error


def named(generator: AnyGenerator) -> str:
    """Return a generator in words, without the folder of its file."""
    return f"the generator {generator.label}" if isinstance(generator, Generator) else repr(generator)


def require_shape(generator: AnyGenerator, network: GeneratorNetwork, shape: tuple[int, ...]) -> None:
    """Raise `AttackFailed` if the images of a generator have another shape than the inputs of the model."""
    if tuple(shape) != tuple(network.shape):
        made, wanted = (" x ".join(map(str, sizes)) for sizes in (network.shape, shape))
        raise AttackFailed(f"{named(generator)} makes images of {made}, but the model takes {wanted}. {HOW}")


def open_generator(part: Parametrisation, generator: AnyGenerator, seen: Observation) -> OpenGenerator:
    """Open the generator of a part for one observation.

    Raises:
        AttackFailed: There is no such file, its images have another shape than the model's inputs, or it is
            class-conditional and the labels of the run are missing or have other classes.
    """
    if seen.modality is not Modality.PICTURES:
        raise AttackFailed(f"{part!r} makes images, but the client trains on {seen.modality}.")
    network, asset = network_of(generator)
    require_shape(generator, network, seen.input_shape)
    labels = _labels(generator, network.classes, seen) if network.classes else None
    like = seen.update.values[0]
    network = network.to(device=like.device, dtype=like.dtype)
    return OpenGenerator(network, asset, seen, labels, require_batch_size(seen, part))


def follow(part: Parametrisation, previous: Candidate | None) -> FromGenerator | None:
    """Return the previous candidate if a generator made it. Raise `AttackFailed` if it is of another kind."""
    if previous is None or isinstance(previous, FromGenerator):
        return previous
    raise AttackFailed(f"{part!r} cannot begin at images of another parametrisation. Let a stage of Latent precede it.")


def _labels(generator: AnyGenerator, classes: int, seen: Observation) -> Tensor:
    labels = seen.labels
    if labels is None:
        raise AttackFailed(
            f"{named(generator)} is class-conditional and needs labels before the search, but this attack "
            "optimises them with the images. Grant LABELS, set labels to an inference such as BiasCounts(), or use a "
            "generator without classes."
        )
    if seen.classes != classes or labels.ndim > 2:
        raise AttackFailed(f"{named(generator)} has {classes} classes, but the model has {seen.classes}. {HOW}")
    return labels
