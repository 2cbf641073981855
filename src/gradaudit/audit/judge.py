"""Where a reconstruction meets the private batch: match, score, and compare with a control.

The only room that holds both a `Batch` and a `Reconstruction`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .. import metrics
from ..client.defenses import describe
from ..client.local_training import rules_of
from ..client.observation import Observation
from ..client.participant import Client, SharedUpdate
from ..data.modalities import Handling, Matched, handling_of
from ..inversion.attack import Attack, Watch
from ..inversion.run.refusal import needs_given
from ..values.chance import child_seed
from ..values.errors import AttackFailed
from ..values.finding import Finding
from ..values.scores import Scores
from ..values.transcript import Transcript
from ..values.types import Batch, Knowledge, Reconstruction
from .attempt import attempt


@dataclass(frozen=True, eq=False)
class Case:
    """One attack on one update: everything that a finding depends on.

    Args:
        key: Unique within the run.
        attack_name: As the user gave it.
        attack: The value itself.
        client: The victim, on the device where the attack is to run.
        batch: Its private examples.
        knowledge: What the adversary is granted.
        control: A guess made without the update, that expands to the batch's inputs: `[C, H, W]` in [0, 1] for
            pictures, `[B, L]` ids for text, `[D]` for rows.
        distractors: `[N, C, H, W]`, other pictures of the source; none for text and rows.
        seed: Of the run.
        repeat: Which batch, from 0.
        chance: The seed that client and attack draw theirs from, each its own, so that no attack finds the client's.
        picture_names: One per example, or empty.
        notes: Sentences that belong on the page.
        warnings: Sentences that belong on the page in red.
        public: Examples, with labels where there are some, that the adversary is handed under PUBLIC_DATA.
        handling: How its examples are matched, scored and written down; by their modality alone where it is `None`.
        shared: The client's update of the batch, which cases of the same batch may have in common, so that it trains
            once for all of them; one of its own where it is `None` or of another client, batch or chance.
    """

    key: str
    attack_name: str
    attack: Attack
    client: Client
    batch: Batch
    knowledge: Knowledge
    control: Tensor
    distractors: Tensor
    seed: int = 0
    repeat: int = 0
    chance: int = 0
    picture_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    public: Batch | Tensor | None = None
    handling: Handling | None = None
    shared: SharedUpdate | None = None

    def __post_init__(self) -> None:
        if self.shared is None or not self.shared.belongs_to(self.client, self.batch, self.chance):
            object.__setattr__(self, "shared", self.client.prepare(self.batch, seed=self.chance))

    def observe(self) -> Observation:
        """Return what the adversary sees, in tensors of its own; raises as `Client.share`."""
        assert self.shared is not None  # of __post_init__
        return self.shared.show(self.knowledge, public=self.public)

    @property
    def idle(self) -> tuple[str, ...]:
        """The defenses that did not change the update, in words."""
        assert self.shared is not None
        return tuple(map(describe, self.shared.idle)) if self.client.defenses else ()


class Audited(NamedTuple):
    """A finding, and its examples in the order of the batch: as tensors, and in words where they are no pictures.

    Where the attack could not run there is no reconstruction.
    """

    finding: Finding
    truth: Tensor
    reconstruction: Tensor | None
    control: Tensor
    transcript: Transcript | None = None


def match(batch: Batch, guess: Reconstruction) -> Matched:
    """Assign one reconstruction to every private example: of pictures, at the least total squared error.

    Raises:
        AuditError: The attack returned another number of examples, or another shape.
    """
    return handling_of(batch.modality).match(batch, guess)


def score(batch: Batch, guess: Reconstruction, *, distractors: Tensor | None = None) -> Scores:
    """All metrics of a reconstruction against the private batch, after the assignment.

    Args:
        batch: The truth.
        guess: What an attack returned.
        distractors: `[N, C, H, W]` other pictures, for the identification rank.

    Raises:
        AuditError: As `match`.
    """
    return handling_of(batch.modality).score(batch, match(batch, guess).inputs, distractors)


def audit(case: Case, watch: Watch | None = None, keep: Path | None = None) -> Audited:
    """Let the client share, the attack run, and the truth judge.

    Where the update is empty, the attack cannot run on it, or the control leaves no room, the finding says that the
    case cannot be judged, and why.

    Args:
        case: What is audited.
        watch: Told of the attack's progress.
        keep: Where a long attack is kept while it runs, and goes on from; it stays there until
            `inversion.keeper.forget(keep)`. See `GradientMatching`.

    Raises:
        AuditError: The client cannot train on the batch, the adversary lacks knowledge, or the attack's code breaks.
    """
    return audit_together([case], watch, keep)[0]


def audit_together(cases: Sequence[Case], watch: Watch | None = None, keep: Path | None = None) -> list[Audited]:
    """As `audit`, of several updates of one client under one attack, in one pass where that is possible."""
    first = cases[0]
    seeds = [attack_seed(case.chance) for case in cases]
    seen = [case.observe() for case in cases]
    started = time.perf_counter()
    guesses = attempt(first.attack, first.attack_name, seen, seeds, watch, keep)
    seconds = (time.perf_counter() - started) / len(cases)
    return [
        _unjudged(case, guess, seconds) if isinstance(guess, AttackFailed) else _judged(case, guess, seconds)
        for case, guess in zip(cases, guesses, strict=True)
    ]


def _judged(case: Case, guess: Reconstruction, seconds: float) -> Audited:
    """What a reconstruction is worth."""
    handling = case.handling or handling_of(case.batch.modality)
    matched = handling.match(case.batch, guess)
    truth = case.batch.inputs.cpu()
    control = case.control.expand_as(truth)
    finding = replace(
        _described(case, seconds),
        scores=handling.score(case.batch, matched.inputs, case.distractors),
        control=handling.score(case.batch, control, case.distractors),
        no_op_defenses=case.idle,
        **_said(case, guess, matched.order),
    )
    finding = replace(finding, cannot_judge=_no_room(finding, truth))
    sure = None if guess.confidence is None else guess.confidence.cpu()[matched.order]
    transcript = handling.transcribe(case.batch, matched.inputs, control, sure)
    return Audited(finding, truth, matched.inputs, control, transcript)


def _unjudged(case: Case, failure: AttackFailed, seconds: float) -> Audited:
    """What is left to say of a case whose attack could not run."""
    truth = case.batch.inputs.cpu()
    finding = replace(_described(case, seconds), cannot_judge=str(failure))
    return Audited(finding, truth, None, case.control.expand_as(truth))


def _no_room(finding: Finding, truth: Tensor) -> str:
    """Why no example can be judged, or nothing where one can."""
    if any(finding.judgeable):
        return ""
    measure, lowest = finding.measure, min(finding.measured_control.per_example)
    why = f"a guess without the update already comes to {measure.prefix}{measure.text(lowest)} or more"
    return f"{why}: {handling_of(finding.modality).unlike(truth)}."


def _described(case: Case, seconds: float) -> Finding:
    """Everything about a case that does not depend on what came back."""
    attack, unscored = case.attack, Scores({})
    return Finding(
        attack=case.attack_name,
        paper=getattr(attack, "paper", ""),
        case=case.key,
        client=client_name(case.client),
        seed=case.seed,
        repeat=case.repeat,
        scores=unscored,
        control=unscored,
        objective=math.nan,
        seconds=seconds,
        verified=False,
        needs=needs_given(attack, case.knowledge).names,
        knowledge=case.knowledge.names,
        attack_value=repr(attack),
        client_value=repr(case.client),
        labels=tuple(case.batch.labels.tolist()) if _classes(case) else (),
        unlabelled=0 if _classes(case) else len(case.batch),
        gallery=len(case.distractors) + 1 if handling_of(case.batch.modality).ranked else 0,
        modality=case.batch.modality,
        picture_names=case.picture_names,
        deviations=tuple(getattr(attack, "deviations", ())),
        notes=case.notes,
        warnings=case.warnings,
    )


def _said(case: Case, guess: Reconstruction, order: Tensor) -> dict[str, Any]:
    """The fields of a finding that hold what the attack says."""
    labels = None if guess.labels is None or not _classes(case) else guess.labels.cpu()
    return {
        "label_accuracy": None if labels is None else metrics.label_accuracy(labels, case.batch.labels.cpu(), order),
        "labels_granted": guess.labels_granted,
        "objective": guess.objective,
        "verified": guess.verified,
        "guessed_labels": None if labels is None else tuple(labels[order].tolist()),
        "curves": guess.trace,
        "notes": (*case.notes, *guess.notes),
    }


def _classes(case: Case) -> bool:
    """Whether the labels are the class of each example, which a reader can be shown."""
    return rules_of(case.client.training.loss).classes


def attack_seed(seed: int) -> int:
    """What an attack draws its random numbers from: a child of `seed` that does not lead back to it."""
    return child_seed(seed, "the attack")


def client_name(client: Client) -> str:
    """The defenses in words."""
    return ", ".join(map(describe, client.defenses)) or "no defense"
