"""The trainings that measure what a defense costs: the federation of an audit file, once for each seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..client.federation import accuracy, train_federation
from ..client.federation_settings import Federation, Partition, partition
from ..client.flower_federation import require_flower, train_in_flower
from ..client.participant import Client
from ..protocol.defenses import DEFENSES
from ..values.chance import child_seed
from ..values.errors import AuditError
from ..values.federation_result import FederationResult
from ..values.records import content_name
from ..values.types import Batch
from ..values.validation import suggest
from .federation_section import FederationSection
from .plan import Plan, labels_at
from .resolve import make_model
from .schedule import Schedule, require_room

FACTS = ("data", "model", "training", "defenses", "seed")
"""Keys of an audit file on which a training depends, besides `federation`; of `data` all but `batch_size`."""
OTHER = "data.batch_size"


@dataclass(frozen=True)
class Training:
    """One training of the federation of a plan.

    Args:
        trial: Its name, a hash of everything that its result depends on.
        number: Number of the seed, from 0.
        defended: Whether the clients have the defenses of the plan; without them it is the baseline.
    """

    trial: str
    number: int
    defended: bool


def trainings(plan: Schedule) -> list[Training]:
    """Return the trainings of a plan, none without `federation:`; they are checked as far as that needs no training.

    An audit with defenses also trains without them. In a sweep the grid says what is compared.

    Raises:
        AuditError: The update was captured, the source has too few examples or no labels, or the loss has no accuracy.
    """
    section = getattr(getattr(plan, "config", None), "federation", None)
    if section is None:
        return []
    if not isinstance(plan, Plan):
        raise AuditError(
            "federation: trains the simulated client of an audit, and update names a captured one. Remove one of them."
        )
    _require_possible(plan, section)
    kinds = [True] if plan.grid or not plan.client.defenses else [True, False]
    return [
        Training(_name(plan, section, number, defended), number, defended)
        for defended in kinds
        for number in range(section.seeds)
    ]


def relevant(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a cell of a sweep on which a training depends; cells that agree in them share one."""
    return {key: value for key, value in grid.items() if key.partition(".")[0] in FACTS and key != OTHER}


def train(plan: Plan, training: Training, watch: Callable[[int, int, float], None] | None = None) -> FederationResult:
    """Train the federation of a plan, and return its accuracy over the rounds.

    The data are divided and the batches drawn from the number of the seed and the data alone, so that all defenses
    train on the same ones. The first seed starts from the model that is attacked, the others from one with other
    weights, unless the audit file names a file of weights or a factory.

    Args:
        plan: The audit.
        training: Which of its trainings.
        watch: Called with (finished rounds, rounds, error on the held-out examples).

    Raises:
        AuditError: The model cannot train on the examples.
    """
    began = time.monotonic()
    section = _section(plan)
    federation, chance = _federation(section), _seed(plan, training.number)
    client, parts = _client(plan, training), _parts(plan, federation, training.number)
    engine = train_in_flower if section.engine == "flower" else train_federation
    found = engine(client, _gatherer(plan), parts, federation, chance, watch)
    return FederationResult(
        trial=training.trial,
        client=plan.client.described if training.defended else "no defense",
        number=training.number,
        scores=tuple((score.number, score.accuracy, score.bits) for score in found.scores),
        rate=federation.rate(client),
        chance=_chance(plan, parts),
        settings=section.model_dump(mode="json"),
        seconds=time.monotonic() - began,
        defended=bool(client.defenses),
        diverged=found.diverged,
        grid=relevant(plan.grid),
    )


def _section(plan: Plan) -> FederationSection:
    assert plan.config.federation is not None  # `trainings` returned the training
    return plan.config.federation


def _federation(section: FederationSection) -> Federation:
    return Federation(**section.model_dump(exclude={"seeds", "engine"}))


def _require_possible(plan: Plan, section: FederationSection) -> None:
    federation, source = _federation(section), plan.source
    if source.labels is None:
        raise AuditError(f"federation: {source.name} has no labels, so there is no accuracy. Choose other data.")
    for name in section.server_rate if isinstance(section.server_rate, dict) else ():
        if name not in DEFENSES:
            raise AuditError(f"federation.server_rate.{name}: unknown defense{suggest(name, DEFENSES)}")
    require_room(min(federation.batch_size, federation.examples), source.shape, "federation.batch_size")
    if section.engine == "flower":
        require_flower()
    for number in range(section.seeds):
        parts = _parts(plan, federation, number)
    accuracy(plan.client, _gatherer(plan), parts.held_out[:1])


def _name(plan: Plan, section: FederationSection, number: int, defended: bool) -> str:
    whole = plan.config.model_dump(mode="json")
    facts = {key: whole[key] for key in FACTS} | ({} if defended else {"defenses": []})
    facts["data"] = {key: value for key, value in whole["data"].items() if key != "batch_size"}
    return content_name(
        "federation", facts, section.model_dump(mode="json", exclude={"seeds"}), plan.digests, number,
        relevant(plan.grid),
    )  # fmt: skip


def _seed(plan: Plan, number: int) -> int:
    return child_seed(plan.config.seed, f"the federation, seed {number}", plan.data_sha256)


def _parts(plan: Plan, federation: Federation, number: int) -> Partition:
    return partition(len(plan.source), plan.source.labels, federation, _seed(plan, number))


def _client(plan: Plan, training: Training) -> Client:
    """Return a client as the attacked one, with the model from which this training starts."""
    attacked, config = plan.client, plan.config
    defenses = attacked.defenses if training.defended else ()
    model = attacked.model
    if training.number and config.model.weights is None and config.model.factory is None:
        seed = child_seed(config.seed, f"the weights of seed {training.number}")
        again = config.model_copy(update={"seed": seed % 2**32})
        model, _ = make_model(again, plan.source, _shape(plan), plan.folder, plan.handling)
        model.to(next(attacked.model.parameters()).device)
    elif not training.defended:
        model, _ = make_model(config, plan.source, _shape(plan), plan.folder, plan.handling)
        model.to(next(attacked.model.parameters()).device)
    return Client(model, attacked.training, defenses, attacked.normalisation, attacked.model_name)


def _shape(plan: Plan) -> tuple[int, ...]:
    return type(plan.handling).of(plan.source, plan.config.model)[1]


def _gatherer(plan: Plan) -> Callable[[list[int]], Batch]:
    device, labels = next(plan.client.model.parameters()).device, plan.source.labels
    assert labels is not None  # `_require_possible`
    return lambda indices: plan.handling.gather(plan.source, indices, labels_at(labels, indices)).to(device)


def _chance(plan: Plan, parts: Partition) -> float:
    """Return the share of the most frequent class among the held-out examples."""
    assert plan.source.labels is not None  # `_require_possible`
    labels = plan.source.labels[parts.held_out]
    if labels.ndim != 1 or labels.is_floating_point():
        return math.nan
    return float(torch.bincount(labels.to(torch.int64)).max()) / len(labels)
