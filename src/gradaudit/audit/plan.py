"""The plan of an audit: an audit file resolved to its cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..client.aggregation import SecureAggregation
from ..client.participant import Client
from ..data.modalities import Handling
from ..data.sources import AnySource
from ..inversion.attack import Attack
from ..values.chance import child_seed
from ..values.errors import AuditError
from ..values.measures import MEASURES
from ..values.types import Batch, Knowledge
from .battery import Origin
from .choosing import Audience, choose, named_attacks
from .config import AuditConfig
from .resolve import (
    make_defense,
    make_device,
    make_handling,
    make_model,
    make_training,
    open_source,
    require_labels,
)
from .schedule import FileSchedule, model_digest, public_warnings, require_room
from .shelf import Shelf

SIMULATED = (
    "update: a captured update is for `gradaudit audit` and `gradaudit sweep`; `gradaudit inspect` infers its labels. "
    "Here the client is simulated: remove update."
)
PUBLIC = 2_000  # most public examples that an adversary gets


@dataclass(frozen=True, eq=False)
class Plan(FileSchedule):
    """A resolved audit file: all names are replaced by their values, and all files are read.

    Args:
        config: The audit file.
        source: The source of the private examples.
        client: The client under audit, on its device.
        attacks: Name of each attack as given, and the attack with its changed fields.
        number: Number of the plan in the run, from 0.
        batch_size: Number of examples in one update, of all clients together.
        handling: How the source's examples are gathered, matched and scored.
        classes: K, the number of classes; 0 if the labels of the client's loss are not classes.
        folder: Folder at which the relative paths of the audit file start.
        data_sha256: Fingerprint of the source.
        model_sha256: Hash of the initial parameters and buffers of the model.
        public: Public examples that the adversary knows under PUBLIC_DATA, with labels if there are any.
        grid: Key of the audit file -> value, if this is a cell of a sweep.
        origins: Which attacks belong to a battery.
        left_out: A sentence for each attack of a battery that does not fit.
    """

    config: AuditConfig
    source: AnySource
    client: Client
    attacks: tuple[tuple[str, Attack], ...]
    batch_size: int
    handling: Handling
    classes: int
    folder: Path
    data_sha256: str
    model_sha256: str
    number: int = 0
    public: Batch | Tensor | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)
    origins: tuple[Origin, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def repeats(self) -> int:
        """Number of batches."""
        return self.config.repeats

    @property
    def description(self) -> str:
        """Where the examples come from, in words."""
        return self.source.description

    @property
    def attribution(self) -> str:
        """Credit lines that the licences of the examples require."""
        return self.source.attribution

    @property
    def digests(self) -> dict[str, str]:
        """Hashes of the data and of the model."""
        return {"data sha256": self.data_sha256, "model sha256": self.model_sha256}

    def batches(self) -> Iterator[Batch]:
        """Yield the private batches alone."""
        for repeat in range(self.config.repeats):
            yield self._private(self._indices(repeat))

    def chance(self, repeat: int) -> int:
        """Return the seed from which the client of one batch and the attacks on it derive theirs."""
        return child_seed(self._root, f"batch {repeat}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the audit file to another process, which opens its models and data by itself."""
        return partial(make_plan, number=self.number, grid=dict(self.grid)), (self.config, self.folder)

    def about(self, repeat: int) -> dict[str, Any]:
        """Return the fields of a case that depend on its batch alone."""
        indices, source, notes = self._indices(repeat), self.source, []
        noun = MEASURES[source.modality].noun
        if source.labels is None:
            notes.append(f"The source has no labels: the label is the {noun}'s index modulo {self.classes}.")
        if self.config.clients > 1:
            each = self.batch_size // self.config.clients
            many = f"{self.config.clients} clients with {each} example{'s' if each > 1 else ''} each"
            notes.append(f"The update is the mean over {many}.")
        batch = self._private(indices)
        control, remarks = self.handling.control(source, batch, indices)
        names = getattr(source, "picture_names", ())
        return {
            "batch": batch,
            "knowledge": self.config.granted,
            "seed": self.config.seed,
            "public": self.public,
            "control": control,
            "distractors": self.handling.distractors(source, indices),
            "picture_names": tuple(names[i] for i in indices) if names else (),
            "notes": (*notes, *remarks),
            "warnings": public_warnings(self.public, batch),
            "handling": self.handling,
            "grid": self.grid,
        }

    @cached_property
    def _root(self) -> int:
        """A seed from the run's seed and its data, which no attack knows, so that none can derive the batches."""
        return child_seed(self.config.seed, "the run", self.data_sha256)

    def _indices(self, repeat: int) -> list[int]:
        return draw(len(self.source), self.batch_size, repeat, self._root)

    def _private(self, indices: list[int]) -> Batch:
        source, device = self.source, next(self.client.model.parameters()).device
        labels = torch.tensor(indices) % self.classes if source.labels is None else labels_at(source.labels, indices)
        return self.handling.gather(source, indices, labels).to(device)


def make_plan(
    config: AuditConfig,
    folder: Path,
    *,
    number: int = 0,
    grid: Mapping[str, Any] | None = None,
    shelf: Shelf | None = None,
) -> Plan:
    """Return the plan of an audit file, or of a cell of a sweep.

    Args:
        config: The audit file.
        folder: Folder at which its relative paths start.
        number: Number of the plan in the run.
        grid: Key of the audit file -> value in this cell of a sweep.
        shelf: Sources and models that are open already.

    Raises:
        AuditError: A name, file, weight or option does not fit, an attack lacks knowledge, or the batch is too large.
    """
    if config.update is not None:
        raise AuditError(SIMULATED)
    shelf = shelf or Shelf()
    source, batch_size = open_source(config.data, folder, shelf=shelf)
    named = named_attacks(config.attacks, folder, config.granted, source.modality)
    defenses = tuple(make_defense(entry, f"defenses.{i}") for i, entry in enumerate(config.defenses))
    handling, shape = make_handling(config, source)
    device = make_device(config.device)
    model, classes, digest = _model(config, source, shape, folder, handling, shelf)
    sizes = (batch_size,) * config.clients
    if sum(sizes) > len(source):
        raise AuditError(f"clients: {config.clients} need {sum(sizes)} examples. {source.name} has {len(source)}.")
    require_room(sum(sizes), shape, "data.batch_size")
    for i, (_, attack) in enumerate(named):  # every candidate of an attack has the size of the batch
        require_room(sum(sizes) * getattr(attack, "seeds", 1), shape, f"attacks.{i}.seeds")
    client = (Client if config.clients == 1 else partial(SecureAggregation, sizes=sizes))(
        model.to(device),
        training=make_training(config.training),
        defenses=defenses,
        normalisation=handling.normalisation(config.model, shape),
        model_name=config.model.name or str(config.model.factory),
        rounds=config.rounds,
    )
    client.training.shared_parameters(model)  # raises for a pattern that matches nothing, before anything runs
    chosen = choose(named, Audience(client, source.modality, config.granted, shape, sum(sizes)))
    public = open_public(config, folder, handling, device, classes)
    fingerprint = shelf.get("fingerprint", [config.data, shape, str(folder)], source.fingerprint)
    return Plan(
        config, source, client, chosen.attacks, sum(sizes), handling, classes, folder.resolve(), fingerprint, digest,
        number, public, grid or {}, chosen.origins, chosen.left_out,
    )  # fmt: skip


def _model(
    config: AuditConfig, source: AnySource, shape: tuple[int, ...], folder: Path, handling: Handling, shelf: Shelf
) -> tuple[nn.Module, int, str]:
    """Return the model, its number of classes and its hash."""
    # the device, because the model is moved to it in place
    place = [str(folder), config.device]
    facts = [config.data, config.model.model_dump(mode="json"), config.seed, config.training.loss, place]

    def make() -> tuple[nn.Module, int, str]:
        model, classes = make_model(config, source, shape, folder, handling)
        return model, classes, model_digest(model)

    return shelf.get("model", facts, make)


def labels_at(labels: Tensor, indices: list[int]) -> Tensor:
    """Return the labels `[N, ...]` of a source at `indices`: integers as int64, others unchanged."""
    chosen = labels[indices]
    return chosen if chosen.is_floating_point() else chosen.to(torch.int64)


def draw(count: int, batch_size: int, repeat: int, seed: int) -> list[int]:
    """Return the indices of one batch, drawn without replacement; repeats are disjoint until the source is used up."""
    round_, slot = divmod(repeat, count // batch_size)
    generator = torch.Generator().manual_seed(seed + 1_000_003 * round_)
    return torch.randperm(count, generator=generator)[slot * batch_size :][:batch_size].tolist()


def open_public(
    config: AuditConfig, folder: Path, handling: Handling, device: torch.device, classes: int
) -> Batch | Tensor | None:
    """Return the examples of `public_data`, with their labels if the source has any.

    Raises:
        AuditError: They are not granted, cannot be read, or are of another kind.
    """
    if config.public_data is None:
        return None
    if Knowledge.PUBLIC_DATA not in config.granted:
        raise AuditError("public_data: is given, but knowledge lacks PUBLIC_DATA. Add it, or remove public_data.")
    source = open_source(config.public_data, folder, at="public_data")[0]
    if source.modality is not handling.modality:
        raise AuditError(f"public_data: holds {source.modality}, but data holds {handling.modality}.")
    source = handling.align(source)
    if classes:
        require_labels(source, classes, "public_data")
    indices = list(range(min(len(source), PUBLIC)))
    require_room(len(indices), source.shape, "public_data")
    given = torch.zeros(len(source), dtype=torch.int64) if source.labels is None else source.labels
    batch = handling.gather(source, indices, labels_at(given, indices)).to(device)
    return batch.inputs if source.labels is None else batch
