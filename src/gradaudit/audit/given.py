"""The cases of an audit that is given as batches from Python, without an audit file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..client.participant import Client
from ..data.modalities import handling_of, kind_of, private_among
from ..inversion.attack import Attack
from ..inversion.run.generator_choice import network_digests
from ..inversion.run.refusal import require_fit
from ..models.trained import by_content
from ..values.chance import child_seed
from ..values.errors import AuditError
from ..values.granting import Granted, granted
from ..values.measures import MEASURES
from ..values.records import content_name
from ..values.types import Batch, Knowledge, Modality
from ..values.validation import brief
from .attack_entry import AttackEntry
from .battery import BATTERIES, Battery, Origin
from .choosing import Audience, Named, choose
from .digests import raw_bytes
from .resolve import make_attack
from .schedule import Schedule, model_digest, public_warnings, require_room


@dataclass(frozen=True, eq=False)
class GivenBatches(Schedule):
    """The schedule of batches from Python: every attack on every batch of one client; see `make_batches`.

    Args:
        client: The client under audit.
        batches: Its private examples, on the device of its model.
        attacks: Name and value of each attack.
        knowledge: What the adversary is granted.
        seed: Seed of the run.
        public: Public examples that the adversary knows under PUBLIC_DATA.
        others: Examples of the same kind as the private ones, `[N, ...]`, for the control and the gallery.
        number: Which client of the run, from 0.
        origins: Which attacks belong to a battery.
        left_out: A sentence for each attack of a battery that does not fit.
        seconds: The time budget in seconds, `None` without one.
    """

    client: Client
    batches: tuple[Batch, ...]
    attacks: tuple[tuple[str, Attack], ...]
    knowledge: Knowledge
    seed: int = 0
    public: Batch | Tensor | None = None
    others: Tensor | None = None
    number: int = 0
    attribution: str = ""
    configuration: str = ""
    origins: tuple[Origin, ...] = ()
    left_out: tuple[str, ...] = ()
    seconds: float | None = None

    @property
    def repeats(self) -> int:
        """Number of batches."""
        return len(self.batches)

    @property
    def description(self) -> str:
        """Where the examples come from, in words."""
        many = "1 batch" if len(self.batches) == 1 else f"{len(self.batches)} batches"
        return f"{many} of the caller's own"

    def chance(self, repeat: int) -> int:
        """Return the seed from which the client of one batch and the attacks on it derive theirs."""
        return child_seed(self._root, f"batch {repeat}")

    def about(self, repeat: int) -> dict[str, Any]:
        """Return the fields of a case that depend on its batch alone."""
        batch = self.batches[repeat]
        control, distractors, notes = control_and_gallery(batch, self.others)
        return {
            "batch": batch,
            "knowledge": self.knowledge,
            "control": control,
            "distractors": distractors,
            "seed": self.seed,
            "notes": notes,
            "warnings": public_warnings(self.public, batch),
            "public": self.public,
        }

    def trial(self, position: int, repeat: int) -> str:
        """Return the name of the trial of a case. Clients with equal weights may still differ in their layers."""
        name = super().trial(position, repeat)
        return content_name(name, self.number) if self.number else name

    def identity(self) -> dict[str, Any]:
        """Return everything that must be equal for a run to resume, as a flat mapping."""
        values = {f"attacks.{i} value": repr(by_content(attack)) for i, (_, attack) in enumerate(self.attacks)}
        public = self.public.inputs if isinstance(self.public, Batch) else self.public
        return {
            "client": repr(self.client),
            "model": repr(self.client.model),
            "knowledge": ", ".join(self.knowledge.names),
            "seed": self.seed,
            **values,
            "data sha256": self._fingerprint,
            "model sha256": model_digest(self.client.model),
            "public sha256": _digest([public]),
            "others sha256": _digest([self.others]),
            **network_digests([attack for _, attack in self.attacks]),
        }

    @cached_property
    def _fingerprint(self) -> str:
        return _digest([tensor for batch in self.batches for tensor in (batch.inputs, batch.labels)])

    @cached_property
    def _root(self) -> int:
        """A seed from the run's seed and its private data, which no attack knows."""
        return child_seed(self.seed, "the run", self._fingerprint)


def make_batches(
    client: Client,
    batches: Batch | Iterable[Batch],
    attacks: Attack | str | Iterable[Attack | str],
    knowledge: Granted,
    *,
    seed: int = 0,
    public: Batch | Tensor | None = None,
    others: Batch | Tensor | None = None,
    number: int = 0,
    seconds: float | None = None,
) -> GivenBatches:
    """Check the arguments of an audit from Python, and return the schedule of its cases.

    Args:
        client: The client under audit, on the device where the attacks are to run.
        batches: Its private examples, moved to the device of its model.
        attacks: Attack values, names of attacks of the literature or of a battery, or `file.py:ATTACK` relative to
            the working directory.
        knowledge: The threat model, as flags or by name.
        seed: Seed of the run, at least 0.
        public: Public examples that the adversary knows under PUBLIC_DATA.
        others: Examples of the same kind as the private ones, for the control; the public ones by default. Private
            examples among them are skipped.
        number: Which client of the run, from 0.
        seconds: Time budget of this client, `None` for no limit.

    Raises:
        AuditError: There is no batch or no attack, an attack is unknown, needs more knowledge or another modality, or
            `others` differ from the private examples in shape or range.
    """
    if not isinstance(client, Client):
        raise AuditError(f"client: should be a gradaudit.Client. Found {brief(client)}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise AuditError(f"seed: should be a whole number of at least 0. Found {brief(seed)}.")
    facts = granted(knowledge)
    if public is not None and Knowledge.PUBLIC_DATA not in facts:
        raise AuditError("public: is given, but knowledge lacks PUBLIC_DATA. Add it, or give the examples as others.")
    mine = _private(client, batches)
    named, first = _named(attacks, facts, mine[0].modality), mine[0]
    shape, most = tuple(first.inputs.shape[1:]), max(map(len, mine))
    chosen = choose(named, Audience(client, first.modality, facts, shape, most))
    for name, attack in chosen.attacks:
        for batch in mine:
            count = len(batch) * getattr(attack, "seeds", 1)
            require_room(count, tuple(batch.inputs.shape[1:]), f"attacks: {name}")
    rest = public if others is None and kind_of(mine[0].modality).comparable else others
    inputs = rest.inputs if isinstance(rest, Batch) else rest
    return GivenBatches(
        client, mine, chosen.attacks, facts, seed, public, inputs, number,
        origins=chosen.origins, left_out=chosen.left_out, seconds=seconds,
    )  # fmt: skip


def control_and_gallery(batch: Batch, others: Tensor | None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the control of a batch, the distractors of the identification rank, and notes on them.

    For images the control is the pixelwise mean of `others`; for rows it is the most frequent category and the mean
    number of each column. Without `others` it is mid grey, a row of zeros or padding, and a note says so. Examples
    among `others` that equal or nearly equal a private one are skipped.

    Raises:
        AuditError: `others` differ from the private examples in shape or range, or they are texts, whose control can
            only come from the source of an audit file.
    """
    handling = handling_of(batch.modality)
    if others is None:
        return handling.given_control(batch, None)
    if not handling.comparable:
        raise AuditError(
            f"others: {MEASURES[batch.modality].nouns} can only come from a source; audit them with an audit file."
        )
    try:
        handling.check_public(others, batch)
    except AuditError as error:
        raise AuditError(str(error).replace("public_data", "others", 1)) from error
    kept = others[~private_among(others, batch).to(others.device)]
    return handling.given_control(batch, kept.to(batch.inputs.cpu()))


def _private(client: Client, batches: Batch | Iterable[Batch]) -> tuple[Batch, ...]:
    found = several(batches, Batch)
    if not found or not all(isinstance(batch, Batch) for batch in found):
        raise AuditError(f"batches: should be a gradaudit.Batch, or several. Found {brief(batches)}.")
    if len({batch.modality for batch in found}) > 1:
        kinds = " and ".join(sorted({MEASURES[batch.modality].nouns for batch in found}))
        raise AuditError(f"batches: must contain one kind of data. Found {kinds}.")
    device = next((parameter.device for parameter in client.model.parameters()), torch.device("cpu"))
    return tuple(batch.to(device) for batch in found)


def _named(attacks: Attack | str | Iterable[Attack | str], facts: Knowledge, modality: Modality) -> Named:
    entries = several(attacks, str, Attack)
    if not entries:
        raise AuditError("attacks: is empty, so there is nothing to judge; name at least one.")
    found: list[tuple[str, Attack | Battery]] = []
    for position, entry in enumerate(entries):
        if isinstance(entry, str):
            found.append((entry, _by_name(entry, position)))
        elif isinstance(entry, Attack) and not isinstance(entry, type):
            found.append((entry.name, entry))
        else:
            rule = "should be an attack or the name of one (`gradaudit attacks` lists them)"
            raise AuditError(f"attacks.{position}: {rule}. Found {brief(entry)}.")
    for name, one in found:
        if not isinstance(one, Battery):
            require_fit(one, facts, modality, name=name)
    return tuple(found)


def _by_name(name: str, position: int) -> Attack | Battery:
    return BATTERIES.get(name) or make_attack(AttackEntry(name=name), Path.cwd(), f"attacks.{position}")


def several(value: Any, *kinds: type) -> tuple[Any, ...]:
    """Return a value of one of the `kinds` as a tuple of one entry, and several values as a tuple, unchecked."""
    return (value,) if isinstance(value, kinds) or not isinstance(value, Iterable) else tuple(value)


def _digest(tensors: Iterable[Tensor | None]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(raw_bytes(tensor))
    return digest.hexdigest()
