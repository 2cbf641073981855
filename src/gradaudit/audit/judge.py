"""Scoring reconstructions: match them with the private batch, score them, and compare them with a control.

This is the only package that handles both a `Batch` and a `Reconstruction`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import metrics
from ..client.participant import Client, SharedUpdate
from ..data.modalities import Handling, Matched, handling_of
from ..inversion.attack import Attack, Watch
from ..inversion.run.refusal import needs_given
from ..models.trained import by_content
from ..protocol.defenses import describe
from ..protocol.local_training import rules_of
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.finding import Finding
from ..values.scores import Scores
from ..values.transcript import Transcript
from ..values.types import Batch, Knowledge, Reconstruction
from .adapting import facts_for, is_adaptive
from .attempt import attack_seed, attempt
from .battery import NAMED, Origin
from .digests import batch_digest
from .doubts import doubts, remarks
from .post_processing import control_notes, processed_control
from .protected import facts_of

NO_TRUTH = "there is no ground truth: the private examples are not at hand"


@dataclass(frozen=True, eq=False)
class Case:
    """One case of an audit: one attack on one update, with everything that its finding depends on.

    Args:
        key: Unique within the run.
        attack_name: Name of the attack as the user gave it.
        attack: The attack itself.
        client: The client under audit, on the device where the attack is to run.
        batch: Its private examples; none if the update was captured and they are not at hand.
        knowledge: What the adversary is granted; only an adaptive attack gets the defenses (`adapting`).
        control: A guess made without the update, which expands to the shape of the batch's inputs: `[C, H, W]` in
            [0, 1] for images, `[B, L]` ids for text, `[D]` for rows.
        distractors: `[N, C, H, W]`, other images of the source; none for text and rows.
        seed: Seed of the run.
        repeat: Number of the batch, from 0.
        chance: The seed from which client and attack each derive their own, so that no attack can derive the client's.
        picture_names: One name for each example, or empty.
        notes: Sentences for the page of the audit.
        warnings: Sentences for the page of the audit, shown in red.
        public: Public examples that the adversary knows under PUBLIC_DATA, with labels if there are any.
        handling: How examples are matched, scored and written; the default of their modality if `None`.
        shared: The client's update of the batch. Cases of one batch may share it, so that the client trains once for
            all of them. If it is `None` or of another client, batch or chance, the case makes its own.
        trial: Name of the trial.
        grid: Key of the audit file -> value, in a sweep.
        fingerprint: Identifies the update where there is no ground truth; otherwise the batch does.
        origin: Whether the attack belongs to a battery, which has a seed for it.
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
    trial: str = ""
    grid: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    origin: Origin = NAMED

    def __post_init__(self) -> None:
        if self.shared is None or not self.shared.belongs_to(self.client, self.batch, self.chance):
            object.__setattr__(self, "shared", self.client.prepare(self.batch, seed=self.chance))

    def observe(self) -> Observation:
        """Return what the adversary sees, in tensors of its own. Raises the errors of `Client.share`."""
        assert self.shared is not None  # of __post_init__
        return self.shared.show(facts_for(self.attack, self.client, self.knowledge), public=self.public)

    @property
    def idle(self) -> tuple[str, ...]:
        """Descriptions of the defenses that did not change the update."""
        assert self.shared is not None
        return tuple(map(describe, self.shared.idle)) if self.client.defenses else ()


class Audited(NamedTuple):
    """A finding with its examples in the order of the batch, as tensors and, for text and rows, in words.

    There is no reconstruction if the attack could not run.
    """

    finding: Finding
    truth: Tensor
    reconstruction: Tensor | None
    control: Tensor
    transcript: Transcript | None = None


def match(batch: Batch, guess: Reconstruction) -> Matched:
    """Assign one reconstruction to every private example; for images, at the least total squared error.

    Raises:
        AuditError: The attack returned a wrong number of examples, or a wrong shape.
    """
    return handling_of(batch.modality).match(batch, guess)


def score(batch: Batch, guess: Reconstruction, *, distractors: Tensor | None = None) -> Scores:
    """Return all metrics of a reconstruction against the private batch, after the assignment.

    Args:
        batch: The private examples, which are the ground truth.
        guess: The reconstruction that an attack returned.
        distractors: `[N, C, H, W]` other images, for the identification rank.

    Raises:
        AuditError: `match` raises it.
    """
    return handling_of(batch.modality).score(batch, match(batch, guess).inputs, distractors)


def audit(case: Case, watch: Watch | None = None, keep: Path | None = None) -> Audited:
    """Let the client share its update, run the attack on it, and score the reconstruction against the ground truth.

    If the update is empty, the attack cannot run on it, or the control is already so close to the ground truth that no
    attack could do recognisably better, the finding says that the case cannot be judged, and why.

    Args:
        case: The case to audit.
        watch: Called with the attack's progress.
        keep: Folder for the checkpoints of a long attack, from which it resumes. They stay until
            `inversion.keeper.forget(keep)`. See `GradientMatching`.

    Raises:
        AuditError: The client cannot train on the batch, the adversary lacks knowledge, or the attack's code fails.
    """
    return audit_together([case], watch, keep)[0]


def audit_together(cases: Sequence[Case], watch: Watch | None = None, keep: Path | None = None) -> list[Audited]:
    """Audit several updates of one client under one attack, in one pass where that is possible; see `audit`."""
    first = cases[0]
    seeds = [attack_seed(case.chance) if case.origin.seed is None else case.origin.seed for case in cases]
    seen = [case.observe() for case in cases]
    facts = [facts_of(case.shared, one) for case, one in zip(cases, seen, strict=True)]  # attacks may write into it
    started = time.perf_counter()
    guesses = attempt(first.attack, first.attack_name, seen, seeds, watch, keep)
    seconds = (time.perf_counter() - started) / len(cases)
    found = [
        _unjudged(case, guess, seconds) if isinstance(guess, AttackFailed) else _judged(case, guess, seconds)
        for case, guess in zip(cases, guesses, strict=True)
    ]
    return [one._replace(finding=replace(one.finding, **own)) for one, own in zip(found, facts, strict=True)]


def _judged(case: Case, guess: Reconstruction, seconds: float) -> Audited:
    """Return the finding of a reconstruction, with its scores."""
    if not len(case.batch):
        return _unscored(case, guess, seconds)
    handling = case.handling or handling_of(case.batch.modality)
    matched = handling.match(case.batch, guess)
    truth = case.batch.inputs.cpu()
    control = processed_control(case.attack, case.control.expand_as(truth))
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


def _unscored(case: Case, guess: Reconstruction, seconds: float) -> Audited:
    """Return the finding of a reconstruction without ground truth: it has no scores, and says why."""
    count, nothing = len(guess.inputs), case.batch.inputs.cpu()
    said = _said(case, guess, torch.arange(count))
    unlabelled = 0 if _labelled(case) else count
    sent = sum(value.numel() for value in case.observe().update.values)  # many batches explain a shorter update
    proof = guess.verified and sent >= guess.inputs.numel()
    finding = replace(_described(case, seconds), unscored=NO_TRUTH, unlabelled=unlabelled, proof=proof, **said)
    return Audited(finding, nothing, guess.inputs.detach().cpu(), nothing)


def _unjudged(case: Case, failure: AttackFailed, seconds: float) -> Audited:
    """Return the finding of a case whose attack could not run: it has no scores, and says why."""
    truth = case.batch.inputs.cpu()
    finding = replace(_described(case, seconds), cannot_judge=str(failure))
    return Audited(finding, truth, None, case.control.expand_as(truth))


def _no_room(finding: Finding, truth: Tensor) -> str:
    """Return why no example can be judged, or an empty string if at least one can."""
    if any(finding.judgeable):
        return ""
    measure, lowest = finding.measure, min(finding.measured_control.per_example)
    why = f"a guess without the update already reaches {measure.prefix}{measure.text(lowest)} or more"
    return f"{why}: {handling_of(finding.modality).unlike(truth)}."


def _described(case: Case, seconds: float) -> Finding:
    """Return the finding with everything that does not depend on the reconstruction."""
    attack, unscored = case.attack, Scores({})
    return Finding(
        attack=case.attack_name,
        paper=getattr(attack, "paper", ""),
        case=case.key,
        client=case.client.described,
        seed=case.seed,
        repeat=case.repeat,
        scores=unscored,
        control=unscored,
        objective=math.nan,
        seconds=seconds,
        verified=False,
        needs=needs_given(attack, case.knowledge).names,
        knowledge=case.knowledge.names,
        attack_value=repr(by_content(attack)),
        client_value=repr(case.client),
        labels=tuple(case.batch.labels.tolist()) if _labelled(case) else (),
        unlabelled=0 if _labelled(case) else len(case.batch),
        gallery=len(case.distractors) + 1 if handling_of(case.batch.modality).ranked else 0,
        modality=case.batch.modality,
        picture_names=case.picture_names,
        deviations=tuple(getattr(attack, "deviations", ())),
        notes=(*case.notes, *_doubts(case)),
        warnings=case.warnings,
        battery=case.origin.battery,
        optional=case.origin.optional,
        trial=case.trial,
        grid=case.grid,
        batch=case.fingerprint or batch_digest(case.batch),
        adaptive=bool(case.client.defenses) and is_adaptive(attack),
        defended=bool(case.client.defenses),
    )


def _said(case: Case, guess: Reconstruction, order: Tensor) -> dict[str, Any]:
    """Return the fields of a finding that come from the attack."""
    labels = None if guess.labels is None or not _classes(case) else guess.labels.cpu()
    right = None
    if labels is not None and _labelled(case) and len(case.batch):
        right = metrics.label_accuracy(labels, case.batch.labels.cpu(), order)
    return {
        "label_accuracy": right,
        "labels_granted": guess.labels_granted,
        "objective": guess.objective,
        "verified": guess.verified,
        "guessed_labels": None if labels is None else tuple(labels[order].tolist()),
        "curves": guess.trace,
        "notes": (*case.notes, *_doubts(case), *guess.notes, *control_notes(case.attack, case.batch, case.observe)),
        "cut": guess.cut,
    }


def _doubts(case: Case) -> tuple[str, ...]:
    """Return what is to be said of the client's defenses, and what is to be doubted under those that did something."""
    active = [defense for defense in case.client.defenses if describe(defense) not in case.idle]
    known = facts_for(case.attack, case.client, case.knowledge)
    return (*remarks(case.client, len(case.batch)), *doubts(case.attack, active, known))


def _classes(case: Case) -> bool:
    """Return whether the labels are the class of each example, so that a report can show them."""
    return rules_of(case.client.training.loss).classes


def _labelled(case: Case) -> bool:
    """Return whether the class of each example is known: that of a captured update may not be."""
    return _classes(case) and len(case.batch.labels) > 0
