"""Where a reconstruction meets the private batch: match, score, and compare with a control.

The only room that holds both a `Batch` and a `Reconstruction`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from . import metrics
from .client import Client
from .defenses import describe
from .errors import AuditError
from .finding import Finding
from .inversion.attack import Attack, Watch
from .inversion.call import run_attack_on_all
from .inversion.refusal import needs_given
from .modalities import Handling, Matched, handling_of
from .scores import Scores
from .transcript import Transcript
from .types import Batch, Knowledge, Modality, Reconstruction


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
        repeat: Which batch, from 0; attack and defense draw from `seed` and `repeat` together.
        picture_names: One per example, or empty.
        notes: Sentences that belong on the page.
        public: Examples, with labels where there are some, that the adversary is handed under PUBLIC_DATA.
        handling: How its examples are matched, scored and written down; by their modality alone where it is `None`.
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
    picture_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    public: Batch | Tensor | None = None
    handling: Handling | None = None


class Audited(NamedTuple):
    """A finding, and its examples in the order of the batch: as tensors, and in words where they are no pictures."""

    finding: Finding
    truth: Tensor
    reconstruction: Tensor
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

    Args:
        case: What is audited.
        watch: Told of the attack's progress.
        keep: Where a long attack is kept while it runs, and goes on from; it stays there until
            `inversion.keeper.forget(keep)`. See `GradientMatching`.

    Raises:
        AuditError: The client cannot train on the batch, the attack refuses or fails.
    """
    found = audit_together([case], watch, keep)[0]
    if isinstance(found, AuditError):
        raise found
    return found


def audit_together(
    cases: Sequence[Case], watch: Watch | None = None, keep: Path | None = None
) -> list[Audited | AuditError]:
    """As `audit`, of several updates of one client under one attack, in one pass where that is possible.

    Returns:
        For each case its finding, or why there is none.

    Raises:
        AuditError: As `audit`, where no single case is to blame.
    """
    first = cases[0]
    seeds = [batch_seed(case.seed, case.repeat) for case in cases]
    seen = [
        case.client.share(case.batch, case.knowledge, seed=seed, public=case.public)
        for case, seed in zip(cases, seeds, strict=True)
    ]
    started = time.perf_counter()
    try:
        guesses = run_attack_on_all(first.attack, seen, seeds=seeds, watch=watch, keep=keep)
    except (RuntimeError, ArithmeticError, ValueError, TypeError) as error:
        cause = str(error).strip().splitlines() or [""]
        raise AuditError(f"{first.attack_name}: stopped with {type(error).__name__}: {cause[0]}") from error
    seconds = (time.perf_counter() - started) / len(cases)
    return [
        guess if isinstance(guess, AuditError) else _judged(case, guess, seed, seconds)
        for case, guess, seed in zip(cases, guesses, seeds, strict=True)
    ]


def _judged(case: Case, guess: Reconstruction, seed: int, seconds: float) -> Audited:
    """What a reconstruction is worth."""
    handling = case.handling or handling_of(case.batch.modality)
    matched = handling.match(case.batch, guess)
    truth = case.batch.inputs.cpu()
    control = case.control.expand_as(truth)
    finding = replace(
        _describe(case, guess, matched.order, seconds),
        scores=handling.score(case.batch, matched.inputs, case.distractors),
        control=handling.score(case.batch, control, case.distractors),
        no_op_defenses=_idle(case, seed),
    )
    sure = None if guess.confidence is None else guess.confidence.cpu()[matched.order]
    transcript = handling.transcribe(case.batch, matched.inputs, control, sure)
    return Audited(finding, truth, matched.inputs, control, transcript)


def _describe(case: Case, guess: Reconstruction, order: Tensor, seconds: float) -> Finding:
    """Everything about a case but its scores."""
    attack, labels = case.attack, None if guess.labels is None else guess.labels.cpu()
    unscored = Scores({})
    return Finding(
        attack=case.attack_name,
        paper=getattr(attack, "paper", ""),
        case=case.key,
        client=client_name(case.client),
        seed=case.seed,
        repeat=case.repeat,
        scores=unscored,
        control=unscored,
        label_accuracy=None if labels is None else metrics.label_accuracy(labels, case.batch.labels.cpu(), order),
        labels_granted=guess.labels_granted,
        objective=guess.objective,
        seconds=seconds,
        verified=guess.verified,
        needs=needs_given(attack, case.knowledge).names,
        knowledge=case.knowledge.names,
        attack_value=repr(attack),
        client_value=repr(case.client),
        labels=tuple(case.batch.labels.tolist()),
        guessed_labels=None if labels is None else tuple(labels[order].tolist()),
        gallery=len(case.distractors) + 1 if case.batch.modality is Modality.PICTURES else 0,
        modality=case.batch.modality,
        picture_names=case.picture_names,
        curves=guess.trace,
        deviations=tuple(getattr(attack, "deviations", ())),
        notes=(*case.notes, *guess.notes),
    )


def _idle(case: Case, seed: int) -> tuple[str, ...]:
    """The defenses that did not change this update."""
    if not case.client.defenses:
        return ()
    return tuple(map(describe, case.client.protected(case.batch, seed=seed)[1]))


def batch_seed(seed: int, number: int) -> int:
    """The seed of one batch of a run: far from that of any other batch, and of another run's."""
    return seed + 1_000_003 * number


def client_name(client: Client) -> str:
    """The defenses in words."""
    return ", ".join(map(describe, client.defenses)) or "no defense"
