"""From an audit file to the cases that it asks for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .audit import Case, batch_seed
from .client import Client
from .config import AuditConfig
from .datasets.base import Source
from .errors import AuditError
from .inversion.attack import Attack
from .resolve import (
    check_knowledge,
    make_attack,
    make_defense,
    make_device,
    make_model,
    make_normalisation,
    make_training,
    open_source,
)
from .types import Batch, Knowledge

GALLERY = 999  # pictures that an example is to be told from,
GALLERY_VALUES = 50_000_000  # or as many as hold this many pixels
PUBLIC = 2_000  # public pictures that an adversary gets at most


@dataclass(frozen=True, eq=False)
class Plan:
    """One audit file, resolved: every name is a value, every file is read.

    Args:
        config: As given.
        source: The pictures.
        client: The victim, on its device.
        attacks: Name as given, and the value with its changed fields.
        number: Which plan of the run, from 0.
        batch_size: Examples in one update.
        channels: Of the pictures that the model takes.
        classes: K.
        public: Pictures, with labels where there are some, that the adversary is handed under PUBLIC_DATA.
    """

    config: AuditConfig
    source: Source
    client: Client
    attacks: tuple[tuple[str, Attack], ...]
    batch_size: int
    channels: int
    classes: int
    number: int = 0
    public: Batch | Tensor | None = None

    def __len__(self) -> int:
        return len(self.attacks) * self.config.repeats

    def cases(self) -> Iterator[Case]:
        """Every attack on every batch, batch by batch."""
        for repeat in range(self.config.repeats):
            indices = draw(len(self.source), self.batch_size, repeat, self.config.seed)
            shared = self._batch(indices)
            for position, (name, attack) in enumerate(self.attacks):
                yield Case(
                    key=f"client{self.number}-attack{position}-batch{repeat}",
                    attack_name=name,
                    attack=attack,
                    client=self.client,
                    knowledge=self.config.granted,
                    seed=self.config.seed,
                    repeat=repeat,
                    public=self.public,
                    **shared,
                )

    def batches(self) -> Iterator[Batch]:
        """The private batches alone."""
        for repeat in range(self.config.repeats):
            yield self._private(draw(len(self.source), self.batch_size, repeat, self.config.seed))

    def identity(self) -> dict[str, Any]:
        """Everything that must be the same for a run to be continued, flat."""
        state = hashlib.sha256()
        for name, tensor in self.client.model.state_dict().items():
            state.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        flat = _flat(self.config.model_dump(mode="json"))
        values = {f"attacks.{i} value": repr(attack) for i, (_, attack) in enumerate(self.attacks)}
        return {**flat, **values, "data sha256": self.source.fingerprint(), "model sha256": state.hexdigest()}

    def _private(self, indices: list[int]) -> Batch:
        source, device = self.source, next(self.client.model.parameters()).device
        labels = source.labels[indices] if source.labels is not None else torch.tensor(indices) % self.classes
        return Batch(to_channels(source.stack(indices), self.channels), labels.to(torch.int64)).to(device)

    def _batch(self, indices: list[int]) -> dict[str, Any]:
        """What a case holds of its batch: the examples, the control, the gallery, names and notes."""
        source, notes = self.source, []
        control = source.mean_except(indices)
        gallery = source.distractors(indices, min(GALLERY, GALLERY_VALUES // math.prod(source.shape)))
        if source.labels is None:
            notes.append(f"The source has no labels: the label is the picture's index modulo {self.classes}.")
        if control is None:
            notes.append("No picture lies outside the batch: the control is mid grey.")
            control = torch.full(source.shape, 0.5)
        return {
            "batch": self._private(indices),
            "control": to_channels(control, self.channels),
            "distractors": to_channels(gallery, self.channels),
            "picture_names": tuple(source.picture_names[i] for i in indices) if source.picture_names else (),
            "notes": tuple(notes),
        }


def make_plan(config: AuditConfig, folder: Path, *, number: int = 0) -> Plan:
    """Resolve an audit file whose relative paths start at `folder`.

    Raises:
        AuditError: A name, file, weight or option does not fit; an attack lacks knowledge; the batch is too large.
    """
    source, batch_size = open_source(config.data, folder)
    attacks = tuple((entry.name, make_attack(entry, folder, f"attacks.{i}")) for i, entry in enumerate(config.attacks))
    for name, attack in attacks:
        check_knowledge(name, attack, config.granted)
    defenses = tuple(make_defense(entry, f"defenses.{i}") for i, entry in enumerate(config.defenses))
    channels = config.model.channels or source.shape[0]
    if channels not in (1, source.shape[0]) and source.shape[0] != 1:
        raise AuditError(
            f"model.channels: cannot show pictures of {source.shape[0]} channels to {channels} input channels."
        )
    device = make_device(config.device)
    shape = (channels, *source.shape[1:])
    model, classes = make_model(config, source, shape, folder)
    client = Client(
        model.to(device),
        training=make_training(config.training),
        defenses=defenses,
        normalisation=make_normalisation(config, channels),
        model_name=config.model.name or str(config.model.factory),
    )
    public = _public(config, folder, channels, device)
    return Plan(config, source, client, attacks, batch_size, channels, classes, number, public)


def draw(count: int, batch_size: int, repeat: int, seed: int) -> list[int]:
    """Indices of one batch, without replacement; repeats are disjoint until the source is used up."""
    round_, slot = divmod(repeat, count // batch_size)
    generator = torch.Generator().manual_seed(batch_seed(seed, round_))
    return torch.randperm(count, generator=generator)[slot * batch_size :][:batch_size].tolist()


def to_channels(pictures: Tensor, channels: int) -> Tensor:
    """`[..., C, H, W]` -> `[..., channels, H, W]`: grey is repeated, colour is averaged."""
    if pictures.shape[-3] == channels:
        return pictures
    grey = pictures.mean(-3, keepdim=True)
    return grey.expand(*pictures.shape[:-3], channels, *pictures.shape[-2:]).clone()


def _public(config: AuditConfig, folder: Path, channels: int, device: torch.device) -> Batch | Tensor | None:
    """The pictures of `public_data`, with their labels where the source has some."""
    if config.public_data is None:
        return None
    if Knowledge.PUBLIC_DATA not in config.granted:
        raise AuditError("public_data: is given, but knowledge lacks PUBLIC_DATA. Add it, or leave public_data out.")
    source = open_source(config.public_data, folder, at="public_data")[0]
    pictures = to_channels(source.stack(range(min(len(source), PUBLIC))), channels).to(device)
    return pictures if source.labels is None else Batch(pictures, source.labels[: len(pictures)].to(device))


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            k: v for key, entry in value.items() for k, v in _flat(entry, f"{at}.{key}" if at else str(key)).items()
        }
    if isinstance(value, list) and value:
        return {k: v for i, entry in enumerate(value) for k, v in _flat(entry, f"{at}.{i}").items()}
    return {at: value}
