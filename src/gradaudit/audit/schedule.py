"""Schedules: the cases of one client that a run audits, and the facts that the run records about them."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ..client.participant import Client
from ..data.modalities import private_among
from ..inversion.attack import Attack
from ..inversion.run.generator_choice import network_digests
from ..models.trained import by_content
from ..values.measures import MEASURES
from ..values.memory import require_memory
from ..values.records import content_name
from ..values.types import Batch
from .battery import NAMED, Origin
from .changes import flat
from .config import AuditConfig
from .digests import digest_of
from .judge import Case

PASS = 16  # most updates in one pass, so that an interruption costs little


class Schedule(ABC):
    """The cases of one client, which another process can open too.

    They are those of an audit file (`Plan`), of a captured update (`CapturedPlan`), or of batches from Python
    (`GivenBatches`). It can be sent to another process, which opens the same models and data.
    """

    client: Client
    attacks: tuple[tuple[str, Attack], ...]
    number: int
    attribution: str | Any
    configuration: str | Any
    origins: tuple[Origin, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """The time budget in seconds, `None` without one."""
        return None

    @property
    @abstractmethod
    def repeats(self) -> int:
        """Number of batches."""

    @property
    def uses_gpu(self) -> bool:
        """Whether its trials run on a GPU."""
        return any(parameter.is_cuda for parameter in self.client.model.parameters())

    @property
    @abstractmethod
    def description(self) -> str:
        """Where the examples come from, in words."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return everything that must be equal for a run to resume, as a flat mapping."""

    @abstractmethod
    def chance(self, repeat: int) -> int:
        """Return the seed from which the client of one batch and the attacks on it derive theirs."""

    @abstractmethod
    def about(self, repeat: int) -> dict[str, Any]:
        """Return the fields of a case that depend on its batch alone."""

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.attacks) * self.repeats

    @property
    def places(self) -> Iterator[tuple[int, int]]:
        """Position of the attack and number of the batch of every case, batch by batch."""
        return ((position, repeat) for repeat in range(self.repeats) for position in range(len(self.attacks)))

    def cases(self) -> Iterator[Case]:
        """Yield every attack on every batch, batch by batch."""
        return (self.case(position, repeat) for position, repeat in self.places)

    def case(self, position: int, repeat: int, *, kept: int = 1) -> Case:
        """Return the case of one attack on one batch; the client trains once for all attacks on it.

        Args:
            position: Position of the attack.
            repeat: Number of the batch.
            kept: Number of batches that are kept, so that the client need not train again for another attack on them.
        """
        name, attack = self.attacks[position]
        chance = self.chance(repeat)
        about = self._prepared.get(repeat)
        if about is None:
            about = {**self.about(repeat), "chance": chance}
            about["shared"] = self.client.prepare(about["batch"], seed=chance)
            while len(self._prepared) >= kept:
                self._prepared.pop(next(iter(self._prepared)))
            self._prepared[repeat] = about
        key, trial = self.key(position, repeat), self.trial(position, repeat)
        return Case(key, name, attack, self.client, repeat=repeat, trial=trial, origin=self.origin(position), **about)

    def origin(self, position: int) -> Origin:
        """Return where an attack comes from: a battery, or its own name."""
        return self.origins[position] if self.origins else NAMED

    def key(self, position: int, repeat: int) -> str:
        """Return the key of a case, which is unique within the run."""
        return f"client{self.number}-attack{position}-batch{repeat}"

    def trial(self, position: int, repeat: int) -> str:
        """Return the name of the trial of a case: a hash of everything that its finding depends on."""
        origin = self.origin(position)
        facts = (self._common, position, repr(by_content(self.attacks[position][1])), repeat)
        return content_name(*facts, *([repr(origin)] if origin.battery else []))

    def open(self) -> Schedule:
        """Return itself: the models and data are open."""
        return self

    @cached_property
    def _common(self) -> str:
        """What all trials of this schedule depend on."""
        facts = {key: value for key, value in self.identity().items() if not key.startswith("attacks.")}
        return json.dumps(facts, sort_keys=True, default=str)

    @cached_property
    def _prepared(self) -> dict[int, dict[str, Any]]:
        return {}


class FileSchedule(Schedule):
    """The cases of an audit file, or of one cell of a sweep."""

    config: AuditConfig
    grid: Mapping[str, Any]

    @property
    def seconds(self) -> float | None:
        """The time budget of the audit in seconds, `None` without one."""
        return self.config.seconds

    @property
    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Hashes of the files that its results depend on, by what they hold."""

    @property
    def configuration(self) -> str:  # type: ignore[override]
        """The resolved audit file as YAML."""
        return self.config.as_yaml()

    def key(self, position: int, repeat: int) -> str:
        """Return the key of a case: in a sweep it begins with the name of its trial, so that the grid may grow."""
        return (
            f"{self.trial(position, repeat)}-attack{position}-batch{repeat}"
            if self.grid
            else super().key(position, repeat)
        )

    def trial(self, position: int, repeat: int) -> str:
        """Return the name of the trial of a case; in a sweep each cell has its own."""
        name = super().trial(position, repeat)
        return content_name(name, dict(self.grid)) if self.grid else name

    def identity(self) -> dict[str, Any]:
        """Return everything that must be equal for a run to resume, as a flat mapping."""
        values = {f"attacks.{i} value": repr(by_content(attack)) for i, (_, attack) in enumerate(self.attacks)}
        files = network_digests([attack for _, attack in self.attacks])
        return {**flat(self.config.model_dump(mode="json")), **values, **self.digests, **files}


def model_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers with their names."""
    return digest_of(model.state_dict())


def public_warnings(public: Batch | Tensor | None, batch: Batch) -> tuple[str, ...]:
    """Return a warning if public examples are also private ones of the batch; the adversary does not see these."""
    found = 0 if public is None else int(private_among(public, batch).sum())
    if not found:
        return ()
    noun = MEASURES[batch.modality].noun
    which = f"{found} public {noun}{'s are' if found > 1 else ' is'} private too"
    return (f"{which} (the same or nearly the same example), and the adversary did not get to see them.",)


def require_room(count: int, shape: tuple[int, ...], at: str) -> None:
    """Raise `AuditError` if `count` examples of this shape do not fit into memory."""
    needed = 4 * count * math.prod(shape)
    require_memory(needed, f"{at}: {count} examples of shape {list(shape)}", "Use fewer, or smaller ones.")
