"""Whether an attack on an update could have worked at all: the self-check and the two controls together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..capture.captured_client import CapturedClient
from ..client.participant import Client
from ..inversion.attack import Attack
from ..values.errors import AuditError
from ..values.types import Batch, Knowledge, Update
from .controls import ControlScore, positive_control, prior_only
from .schedule import Schedule
from .self_checking import SelfCheck, self_check


@dataclass(frozen=True)
class Assessment:
    """What is known of whether an attack could have worked.

    Args:
        self_check: Whether the declared training on the true batch gives the observed update, and if not, why.
        positive: The score of an attack on an update that must leak.
        prior: The score of the attack's priors without any update.
        problem: Why there is no self-check, a sentence, or empty.
    """

    self_check: SelfCheck | None = None
    positive: ControlScore | None = None
    prior: ControlScore | None = None
    problem: str = ""


def assess(
    client: Client,
    batch: Batch,
    observed: Update,
    attack: Attack | None = None,
    *,
    knowledge: Knowledge = Knowledge.BATCH_SIZE,
    public: Batch | Tensor | None = None,
    others: Tensor | None = None,
    stored: torch.dtype | None = None,
    seconds: float = 60.0,
    seed: int = 0,
) -> Assessment:
    """Run the self-check and both controls of an observed update whose true batch is at hand.

    Args:
        client: The declared client.
        batch: The true examples, on the device of the client's model.
        observed: The update that the real client sent, with the sign of a gradient.
        attack: The attack whose priors are run alone; without one there is no such control.
        knowledge: What the adversary knows.
        public: Public examples that the adversary knows under PUBLIC_DATA.
        others: Other examples of the same kind, for the guess without the update.
        stored: Precision in which the update was stored, if that is coarser than its tensors.
        seconds: About how long it may take: half of it for the self-check, a quarter for each control.
        seed: Seed of the client and of the attacks.
    """
    check, problem = None, ""
    try:
        check = self_check(client, batch, observed, seed=seed, stored=stored, seconds=seconds / 2)
    except AuditError as error:
        problem = str(error)
    positive = positive_control(client, batch, others=others, seconds=seconds / 4, seed=seed)
    prior = None
    if attack is not None:
        options: dict[str, Any] = {"knowledge": knowledge, "public": public, "others": others}
        prior = prior_only(client, batch, attack, seconds=seconds / 4, seed=seed, **options)
    return Assessment(check, positive, prior, problem)


def assessment_of(schedule: Schedule, *, seconds: float = 60.0) -> Assessment | None:
    """Return the assessment of a captured update, or `None` if the update is simulated or its examples are not at hand.

    Args:
        schedule: The cases of one client.
        seconds: About how long it may take.
    """
    captured = schedule.client
    if not isinstance(captured, CapturedClient):
        return None
    case = schedule.case(0, 0)
    if not len(case.batch) or len(case.batch.labels) != len(case.batch):
        return None
    declared = Client(captured.model, captured.training, captured.defenses, captured.normalisation, captured.model_name)
    composed = next((attack for _, attack in schedule.attacks if hasattr(attack, "objective")), case.attack)
    others = case.distractors if len(case.distractors) else None
    options: dict[str, Any] = {"knowledge": case.knowledge, "public": case.public, "others": others}
    return assess(declared, case.batch, captured.sent, composed, seconds=seconds, seed=case.seed, **options)
