"""Choosing the attacks of an audit: those that were named, and those of a battery that fit its client and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from ..client.participant import Client
from ..inversion.attack import Attack
from ..inversion.network.spans import attention_projections, is_causal
from ..inversion.network.vision_transformer import patch_embedding, position_embedding
from ..inversion.run.refusal import require_fit
from ..values.errors import AttackFailed, AuditError, MissingKnowledge
from ..values.types import Knowledge, Modality, UpdateKind
from .adapting import with_twins
from .attack_entry import AttackEntry
from .battery import BATTERIES, NAMED, Battery, Fit, Member, Origin
from .resolve import make_attack

Named = tuple[tuple[str, Attack | Battery], ...]
"""Name of each entry of `attacks:` as given, and the attack or the battery."""


@dataclass(frozen=True)
class Audience:
    """What is known of an audit before anything runs, from which it follows which attacks fit.

    Args:
        client: The client under audit.
        modality: Kind of its examples.
        granted: What the adversary knows.
        shape: Shape of one example as the model takes it.
        batch_size: Number of examples in one update, of all clients together.
    """

    client: Client
    modality: Modality
    granted: Knowledge
    shape: tuple[int, ...]
    batch_size: int


@dataclass(frozen=True)
class Chosen:
    """The attacks of an audit.

    Args:
        attacks: Name of each attack as the page shows it, and the attack.
        origins: Where each attack comes from.
        left_out: A sentence for each attack of a battery that does not fit.
    """

    attacks: tuple[tuple[str, Attack], ...]
    origins: tuple[Origin, ...]
    left_out: tuple[str, ...] = ()


def named_attacks(entries: Iterable[AttackEntry], folder: Path, granted: Knowledge, modality: Modality) -> Named:
    """Return the attacks and batteries that entries name.

    Raises:
        AuditError: A name is unknown, a changed field does not fit, an attack does not suit the data or the knowledge,
            or a battery is named twice or with changed fields.
    """
    found: list[tuple[str, Attack | Battery]] = []
    for number, entry in enumerate(entries):
        at = f"attacks.{number}"
        if entry.name not in BATTERIES:
            attack = make_attack(entry, folder, at)
            name = entry.name if entry.start is None else attack.name
            require_fit(attack, granted, modality, name=name)
            found.append((name, attack))
            continue
        if entry.start is not None:
            raise AuditError(f"{at}.start: {entry.name} is a battery, whose attacks are frozen. Name one attack.")
        if entry.set:
            raise AuditError(
                f"{at}.set: {entry.name} is a battery, whose attacks are frozen. Name the attack that you change."
            )
        if entry.name in dict(found):
            raise AuditError(f"{at}: {entry.name} is named twice. Remove one of them.")
        found.append((entry.name, BATTERIES[entry.name]))
    return tuple(found)


def choose(named: Named, audience: Audience) -> Chosen:
    """Return the attacks of an audit, each battery replaced by its members that fit.

    Each is followed by its adaptive twin if the adversary knows the client's defenses (`adapting`).

    Raises:
        AuditError: No attack of a battery fits.
    """
    attacks: list[tuple[str, Attack]] = []
    origins: list[Origin] = []
    left_out: list[str] = []
    for number, (name, entry) in enumerate(named):
        if not isinstance(entry, Battery):
            attacks.append((name, entry))
            origins.append(NAMED)
            continue
        members, reasons = fitting(entry, audience)
        if not members:
            why = " ".join(reasons) or f"it has none for {audience.modality}."
            raise AuditError(f"attacks.{number}: no attack of {name} fits this audit: {why}")
        attacks += [(member.attack.name, member.attack) for member in members]
        origins += [Origin(name, member.seed, member.optional) for member in members]
        left_out += reasons
    return Chosen(*with_twins(attacks, origins, audience.client, audience.granted), tuple(left_out))


def fitting(battery: Battery, audience: Audience) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """Return the members of a battery that fit an audit, and a sentence for each one that does not."""
    kept, reasons = [], []
    for member in battery.members.get(audience.modality, ()):
        why = _why_not(member, audience)
        if why:
            reasons.append(f"{battery.name} without {member.attack.name}: {why}.")
        else:
            kept.append(member)
    return tuple(kept), tuple(reasons)


def _why_not(member: Member, audience: Audience) -> str:
    """Return why an attack does not fit, without a full stop, or an empty string."""
    try:
        require_fit(member.attack, audience.granted, audience.modality)
    except MissingKnowledge:
        lacking = member.attack.needs & ~audience.granted
        return f"the adversary does not know {' and '.join(lacking.names)}"
    if _fits(member.fit, audience):
        return ""
    return f"it is for {member.fit}"


def _fits(fit: Fit, audience: Audience) -> bool:
    client, model = audience.client, audience.client.model
    each = getattr(client, "sizes", (audience.batch_size,))[0]
    several = client.training.learning_rate is not None and client.training.steps(each) > 1
    if fit is Fit.SEVERAL_STEPS:
        return several and client.training.kind is UpdateKind.WEIGHT_DIFFERENCE
    shared: Mapping[str, torch.Tensor] = dict(client.training.shared_parameters(model))
    if fit is Fit.ONE_IMAGE_OF_A_TRANSFORMER:
        with suppress(AttackFailed):
            patch_embedding(model), position_embedding(shared)
            return audience.batch_size == 1 and not several
        return False
    if fit is Fit.DECODER:
        with suppress(AttackFailed):
            found = attention_projections(model, {name: value.detach() for name, value in shared.items()})
            return len(found) > 1 and is_causal(model, found[1].module, _text(audience))
        return False
    return True


def _text(audience: Audience) -> torch.Tensor:
    """Return a text of ordinary tokens, `[1, L]`: padding and markers are at the ends of a vocabulary."""
    table: torch.nn.Embedding | None = getattr(audience.client.model, "token_embedding", None)
    if table is None:
        raise AttackFailed("the model has no token embedding.")
    size = len(table.weight)
    return torch.linspace(size // 4, 3 * size // 4, audience.shape[0], device=table.weight.device).long()[None]
