"""Where a reconstruction meets the private batch: match, score, and compare with a control.

The only room that holds both a `Batch` and a `Reconstruction`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from . import metrics
from .client import Client
from .defenses import describe
from .errors import AuditError
from .finding import Finding, Score, Scores
from .inversion.attack import Attack, Watch
from .inversion.match import GradientMatching
from .types import Batch, Knowledge, Reconstruction


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
        control: `[C, H, W]` in [0, 1], a guess made without the update.
        distractors: `[N, C, H, W]`, other pictures of the source.
        seed: Of the run.
        repeat: Which batch, from 0; attack and defense draw from `seed` and `repeat` together.
        picture_names: One per example, or empty.
        notes: Sentences that belong on the page.
        public: Pictures, with labels where there are some, that the adversary is handed under PUBLIC_DATA.
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


class Audited(NamedTuple):
    """A finding, and its pictures `[B, C, H, W]` in [0, 1] in the order of the batch."""

    finding: Finding
    truth: Tensor
    reconstruction: Tensor
    control: Tensor


class Matched(NamedTuple):
    """A reconstruction in the order of the batch.

    Args:
        pictures: `[B, C, H, W]`, on the CPU; outside [0, 1] or no number where the attack left them so.
        order: `[B]`, for each private example the index of the reconstruction assigned to it.
    """

    pictures: Tensor
    order: Tensor


def match(batch: Batch, guess: Reconstruction) -> Matched:
    """Assign one reconstruction to every private example, at the least total squared error.

    Raises:
        AuditError: The attack returned another number of pictures, or another shape.
    """
    if guess.inputs.shape != batch.inputs.shape:
        found, wanted = list(guess.inputs.shape), list(batch.inputs.shape)
        raise AuditError(f"the attack returned pictures of shape {found} for a batch of shape {wanted}.")
    pictures = guess.inputs.detach().cpu()
    order = metrics.assign(pictures, batch.inputs.cpu())
    return Matched(pictures[order], order)


def score(batch: Batch, guess: Reconstruction, *, distractors: Tensor | None = None) -> Scores:
    """All metrics of a reconstruction against the private batch, after the assignment.

    Args:
        batch: The truth, inputs `[B, C, H, W]` in [0, 1].
        guess: What an attack returned.
        distractors: `[N, C, H, W]` other pictures, for the identification rank.

    Raises:
        AuditError: As `match`.
    """
    return score_pictures(batch.inputs.cpu(), match(batch, guess).pictures, distractors)


def score_pictures(truth: Tensor, pictures: Tensor, distractors: Tensor | None = None) -> Scores:
    """All metrics of `pictures` against `truth`, both `[B, C, H, W]` in [0, 1] and in the same order."""
    network, reason = metrics.perceptual_network()
    ranked = distractors is not None and len(distractors) > 0
    found = {
        "ssim": (metrics.ssim(pictures, truth), metrics.SSIM_NEEDS),
        "lpips": (metrics.lpips(network, pictures, truth) if network else None, reason or metrics.LPIPS_NEEDS),
        "rank": (
            metrics.identification_rank(pictures, truth, distractors) if ranked else None,
            "no other pictures to tell it from",
        ),
    }
    scores = {
        name: Score.of(_floats(values), higher_is_better=metrics.METRICS[name].higher_is_better)
        for name, (values, _) in found.items()
        if values is not None
    }
    why_not = {name: why for name, (values, why) in found.items() if values is None}
    return Scores(psnr=Score.of(_floats(metrics.psnr(pictures, truth))), **scores, why_not=why_not)


def audit(case: Case, watch: Watch | None = None) -> Audited:
    """Let the client share, the attack run, and the truth judge.

    Raises:
        AuditError: The client cannot train on the batch, the attack refuses or fails.
    """
    seed = batch_seed(case.seed, case.repeat)
    seen = case.client.share(case.batch, case.knowledge, seed=seed, public=case.public)
    started = time.perf_counter()
    try:
        guess = case.attack(seen, seed=seed, watch=watch)
    except (RuntimeError, ArithmeticError, ValueError, TypeError) as error:
        cause = str(error).strip().splitlines() or [""]
        raise AuditError(f"{case.attack_name}: stopped with {type(error).__name__}: {cause[0]}") from error
    seconds = time.perf_counter() - started
    matched = match(case.batch, guess)
    truth = case.batch.inputs.cpu()
    control = case.control.expand_as(truth)
    finding = replace(
        _describe(case, guess, matched.order, seconds),
        scores=score_pictures(truth, matched.pictures, case.distractors),
        control=score_pictures(truth, control, case.distractors),
        no_op_defenses=_idle(case, seed),
    )
    return Audited(finding, truth, matched.pictures, control)


def _describe(case: Case, guess: Reconstruction, order: Tensor, seconds: float) -> Finding:
    """Everything about a case but its scores."""
    attack, labels = case.attack, None if guess.labels is None else guess.labels.cpu()
    unscored = Scores(psnr=Score.of((0.0,)))
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
        needs=needs(attack, case.knowledge).names,
        knowledge=case.knowledge.names,
        attack_value=repr(attack),
        client_value=repr(case.client),
        labels=tuple(case.batch.labels.tolist()),
        guessed_labels=None if labels is None else tuple(labels[order].tolist()),
        gallery=len(case.distractors) + 1,
        picture_names=case.picture_names,
        curves=guess.trace,
        deviations=tuple(getattr(attack, "deviations", ())),
        notes=(*case.notes, *guess.notes),
    )


def _idle(case: Case, seed: int) -> tuple[str, ...]:
    """The defenses that did not change this update."""
    if not case.client.defenses:
        return ()
    return tuple(map(describe, case.client.defend(case.client.train(case.batch), seed=seed)[1]))


def batch_seed(seed: int, number: int) -> int:
    """The seed of one batch of a run: far from that of any other batch, and of another run's."""
    return seed + 1_000_003 * number


def needs(attack: Attack, granted: Knowledge) -> Knowledge:
    """The facts that `attack` uses under `granted`."""
    return attack.needs_given(granted) if isinstance(attack, GradientMatching) else attack.needs


def client_name(client: Client) -> str:
    """The defenses in words."""
    return ", ".join(map(describe, client.defenses)) or "no defense"


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(values.to(torch.float64).tolist())
