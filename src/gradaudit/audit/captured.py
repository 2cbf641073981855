"""The plan of an audit of a captured update, which is attacked as that of a simulated client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..capture.captured_client import CapturedClient
from ..client.participant import Client
from ..data.modalities import Handling
from ..data.sources import AnySource
from ..inversion.attack import Attack
from ..values.chance import child_seed
from ..values.records import content_name
from ..values.types import Batch
from .battery import Origin
from .captured_facts import (
    blank_source,
    known_labels,
    known_size,
    notes_on,
    open_section,
    read_captured,
    require_known,
    require_single,
    with_weights,
)
from .choosing import Audience, choose, named_attacks
from .config import AuditConfig
from .plan import Plan, make_plan, open_public
from .resolve import make_defense, make_device, make_handling, make_model, make_training, open_source
from .schedule import FileSchedule, model_digest, public_warnings, require_room
from .shelf import Shelf


@dataclass(frozen=True, eq=False)
class CapturedPlan(FileSchedule):
    """A resolved audit file with a captured update: there is one batch, whose examples may be unknown.

    Args:
        config: The audit file.
        client: The client whose update was captured.
        attacks: Name of each attack as given, and the attack with its changed fields.
        handling: How examples are gathered, matched and scored.
        source: The source of the private examples, or `None` if they are not at hand.
        folder: Folder at which the relative paths of the audit file start.
        source_sha256: Fingerprint of the source, or an empty string.
        model_sha256: Hash of the parameters and buffers from before the training.
        words: The captured file in words.
        number: Number of the plan in the run, from 0.
        public: Public examples that the adversary knows under PUBLIC_DATA, with labels if there are any.
        grid: Key of the audit file -> value, if this is a cell of a sweep.
        notes: Sentences on how the file was interpreted.
        warnings: Sentences that limit the conclusions.
        origins: Which attacks belong to a battery.
        left_out: A sentence for each attack of a battery that does not fit.
    """

    config: AuditConfig
    client: CapturedClient
    attacks: tuple[tuple[str, Attack], ...]
    handling: Handling
    source: AnySource | None
    folder: Path
    source_sha256: str
    model_sha256: str
    words: str
    number: int = 0
    public: Batch | Tensor | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def repeats(self) -> int:
        """Number of batches: that of the update."""
        return 1

    @property
    def description(self) -> str:
        """Where the update and the examples come from, in words."""
        truth = "no ground truth" if self.source is None else f"ground truth: {self.source.description}"
        return f"{self.words}, {truth}"

    @property
    def attribution(self) -> str:
        """Credit lines that the licences of the examples require."""
        return "" if self.source is None else self.source.attribution

    @property
    def data_sha256(self) -> str:
        """Hash of the update and of the examples."""
        return content_name(self.client.sha256, self.source_sha256)

    @property
    def digests(self) -> dict[str, str]:
        """Hashes of the update, of the examples, if there are any, and of the model."""
        own = {"update sha256": self.client.sha256, "data sha256": self.source_sha256}
        return {**{name: value for name, value in own.items() if value}, "model sha256": self.model_sha256}

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the audit file to another process, which opens its files by itself."""
        return partial(make_schedule, number=self.number, grid=dict(self.grid)), (self.config, self.folder)

    def chance(self, repeat: int) -> int:
        """Return the seed from which the attacks derive theirs."""
        return child_seed(child_seed(self.config.seed, "the run", self.data_sha256), f"batch {repeat}")

    def about(self, repeat: int) -> dict[str, Any]:
        """Return the fields of a case."""
        shared = {"knowledge": self.config.granted, "seed": self.config.seed, "public": self.public, "grid": self.grid}
        batch, source = self._batch, self.source
        fields = {**shared, "batch": batch, "handling": self.handling}
        if source is None:
            nothing = torch.zeros(batch.inputs.shape[1:])
            return {
                **fields,
                "control": nothing,
                "distractors": nothing[:0],
                "notes": self.notes,
                "warnings": self.warnings,
                "fingerprint": self.client.sha256[:16],
            }
        indices = list(range(len(batch)))
        control, remarks = self.handling.control(source, batch, indices)
        return {
            **fields,
            "control": control,
            "distractors": self.handling.distractors(source, indices),
            "picture_names": tuple(getattr(source, "picture_names", ())[: len(batch)]),
            "notes": (*self.notes, *remarks),
            "warnings": (*self.warnings, *public_warnings(self.public, batch)),
        }

    @cached_property
    def _batch(self) -> Batch:
        """The private examples in the order of the source, without labels where these are unknown."""
        labels, device = self.client.classes, next(self.client.model.parameters()).device
        labels = torch.zeros(0, dtype=torch.int64) if labels is None else labels
        if self.source is None:
            return Batch(torch.zeros(0, *self.client.input_shape), labels, self.handling.modality).to(device)
        return self.handling.gather(self.source, list(range(self.client.size or 0)), labels).to(device)


def make_schedule(
    config: AuditConfig,
    folder: Path,
    *,
    number: int = 0,
    grid: Mapping[str, Any] | None = None,
    shelf: Shelf | None = None,
) -> Plan | CapturedPlan:
    """Return the plan of an audit file, of a simulated client or of a captured update; arguments as for `make_plan`.

    Raises:
        AuditError: `make_plan` raises it; the captured file cannot be read, does not fit the model or is empty, or a
            granted fact is not known.
    """
    make = make_plan if config.update is None else _make_captured
    return make(config, folder, number=number, grid=grid, shelf=shelf)


def _make_captured(
    config: AuditConfig,
    folder: Path,
    *,
    number: int = 0,
    grid: Mapping[str, Any] | None = None,
    shelf: Shelf | None = None,
) -> CapturedPlan:
    require_single(config)
    shelf, opened, training = shelf or Shelf(), open_section(config, folder), make_training(config.training)
    whole, doubts = with_weights(config, opened)
    source = open_source(config.data, folder, shelf=shelf)[0] if config.data else None
    stand_in = source or blank_source(whole, opened, folder)
    named = named_attacks(config.attacks, folder, config.granted, stand_in.modality)
    handling, shape = make_handling(config, stand_in)
    size, remarks = known_size(config, opened.stated, source)
    require_room(size or 1, shape, "update.batch_size")
    for i, (_, attack) in enumerate(named):  # every candidate of an attack has the size of the batch
        require_room((size or 1) * getattr(attack, "seeds", 1), shape, f"attacks.{i}.seeds")
    defenses = tuple(make_defense(entry, f"defenses.{i}") for i, entry in enumerate(config.defenses))
    model, classes = make_model(whole, stand_in, shape, folder, handling, defenses)
    labels, device = known_labels(config, source, size, classes), make_device(config.device)
    found, contradictions = read_captured(config, opened, model, training, (shape, size, stand_in.modality))
    require_known(config, size, labels, source, found)
    declared = Client(
        found.observation.model.to(device),
        training,
        defenses,
        handling.normalisation(config.model, shape),
        config.model.name or str(config.model.factory),
    )
    client = CapturedClient.of(found, declared, opened.sha256, size, labels)
    chosen = choose(named, Audience(client, stand_in.modality, config.granted, shape, size or 1))
    public = open_public(config, folder, handling, device, classes)
    fingerprint = "" if source is None else shelf.get("fingerprint", [config.data, shape], source.fingerprint)
    return CapturedPlan(
        config, client, chosen.attacks, handling, source, folder.resolve(), fingerprint, model_digest(client.model),
        opened.words, number, public, grid or {}, notes_on(found), (*doubts, *remarks, *contradictions),
        chosen.origins, chosen.left_out,
    )  # fmt: skip
