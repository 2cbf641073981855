"""Two controls of an audit that found nothing: an update that must leak, and the attack's priors without any update."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..attacks import ATTACKS
from ..client.participant import Client
from ..inspection.layers import linear_layers
from ..inversion.attack import Attack
from ..inversion.parts.part import Objective, Progress, Stage
from ..inversion.run.call import run_attack
from ..inversion.run.generator_choice import generators_of
from ..inversion.run.refusal import require_fit
from ..protocol.local_training import LocalTraining
from ..protocol.observation import Observation
from ..values.chance import child_seed
from ..values.errors import AttackFailed, AuditError, MissingKnowledge, guarded
from ..values.measures import MEASURES, Measure
from ..values.records import Number
from ..values.types import Batch, Knowledge, Modality, Reconstruction, Tensors
from .given import control_and_gallery
from .judge import score
from .post_processing import processed_control

EASY = {
    Modality.PICTURES: "inverting-gradients-fast",
    Modality.TEXT: "tag",
    Modality.TABLE: "inverting-gradients-table",
}
CLOSED_FORM = "closed form of the first layer"
SECOND_ORDER = 3.0  # evaluations of the objective that one step costs besides those of its optimiser, at most


@dataclass(frozen=True)
class ControlScore:
    """The result of a control.

    Args:
        attack: Name of the attack.
        metric: Key of the metric that decides.
        score: Mean score of what came back.
        guess: Mean score of a guess that was made without the update and without the attack.
        recovered: Number of examples that count as recovered.
        examples: Number of examples.
        seconds: Wall time.
        why_not: Why there are no scores, which are 0 then; a sentence, or empty.
        gains: Score above the guess, for each example.
    """

    attack: str
    metric: str
    score: Number
    guess: Number
    recovered: int
    examples: int
    seconds: Number
    why_not: str = ""
    gains: tuple[Number, ...] = ()

    @property
    def gain(self) -> float:
        """Score above the guess."""
        return self.score - self.guess


@dataclass(frozen=True)
class IgnoredUpdate(Objective):
    """An objective that is 0 for every candidate, so that only the priors of an attack act."""

    independent: ClassVar[bool] = False

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return torch.stack([0 * tensor.sum() for tensor in candidate]).sum()


def positive_control(
    client: Client,
    batch: Batch,
    *,
    attack: Attack | None = None,
    others: Tensor | None = None,
    seconds: float = 20.0,
    seed: int = 0,
) -> ControlScore:
    """Attack an update that must leak: the gradient of one step on the first example alone, without a defense.

    If even this update gives nothing back, the network or the attack is the reason, not the client's training or its
    defense.

    Args:
        client: The client, whose model, loss and normalisation are used.
        batch: The true examples.
        attack: The attack to try; by default the closed form if the first layer is linear and has a bias, otherwise a
            short run of gradient matching.
        others: Other examples of the same kind, for the guess without the update.
        seconds: About how long the attack may take.
        seed: Seed of the attack.
    """
    lengths = None if batch.lengths is None else batch.lengths[:1]
    one = replace(batch, inputs=batch.inputs[:1], labels=batch.labels[:1], lengths=lengths)
    easy = Client(client.model, LocalTraining(client.training.loss), (), client.normalisation, client.model_name)
    knowledge = Knowledge.BATCH_SIZE | Knowledge.LABELS | Knowledge.EMBEDDING_GRADIENT

    def run() -> tuple[str, Reconstruction]:
        seen = easy.share(one, knowledge, seed=seed)
        closed = None if attack else _closed_form(seen)
        if closed is not None:
            return CLOSED_FORM, closed
        chosen = attack or ATTACKS[EASY[batch.modality]]
        require_fit(chosen, knowledge, batch.modality)
        return chosen.name, run_attack(within(chosen, seen, seconds), seen, seed=child_seed(seed, "positive control"))

    name = attack.name if attack else EASY.get(batch.modality, "")
    return _scored(one, run, others, name, attack)


def prior_only(
    client: Client,
    batch: Batch,
    attack: Attack,
    *,
    knowledge: Knowledge = Knowledge.BATCH_SIZE,
    public: Batch | Tensor | None = None,
    others: Tensor | None = None,
    seconds: float = 20.0,
    seed: int = 0,
) -> ControlScore:
    """Run an attack without the update: its parametrisation and its priors alone, from the same kind of start.

    What comes back is what the prior knows of such examples anyway; only what an attack gains beyond it comes from the
    update. Of an attack with a generator, that is an image of the generator at random latent vectors. The update is
    replaced by noise of the same size, and the objective is 0 everywhere.

    Args:
        client: The client.
        batch: The true examples.
        attack: An attack that is composed of stages.
        knowledge: What the adversary knows.
        public: Public examples that the adversary knows under PUBLIC_DATA.
        others: Other examples of the same kind, for the guess without the update.
        seconds: About how long it may take.
        seed: Seed of the attack.
    """

    def run() -> tuple[str, Reconstruction]:
        idle = _without_update(attack)
        update = client.train(batch, seed=seed)
        generator = torch.Generator().manual_seed(child_seed(seed, "noise in place of an update"))
        noise = {
            name: (torch.randn(value.shape, generator=generator) * float(value.std(correction=0))).to(value)
            for name, value in update.tensors.items()
        }
        facts = knowledge | Knowledge.BATCH_SIZE | Knowledge.LABELS
        seen = client.observed(replace(update, tensors=noise, buffers=None), batch, facts, public)
        return attack.name, run_attack(within(idle, seen, seconds), seen, seed=child_seed(seed, "prior alone"))

    return _scored(batch, run, others, attack.name, attack)


def within(attack: Attack, seen: Observation, seconds: float) -> Attack:
    """Return an attack whose stages are shortened in proportion, so that it takes about this long.

    One step of every stage is timed. An attack without stages is returned as it is.
    """
    stages: tuple[Stage, ...] = getattr(attack, "stages", ())
    if not stages or not hasattr(attack, "restarts"):
        return attack
    probe: Any = replace(attack, stages=tuple(replace(stage, steps=1) for stage in stages), restarts=1)  # type: ignore[type-var]
    started = time.perf_counter()
    probe(seen, seed=0)
    each = (time.perf_counter() - started) / sum(stage.optimiser.evaluations for stage in stages)
    full = attack.restarts * each * sum(stage.steps * stage.optimiser.evaluations for stage in stages)  # type: ignore[attr-defined]
    share = min(1.0, seconds / max(full, 1e-9))
    shorter = tuple(replace(stage, steps=max(1, round(share * stage.steps))) for stage in stages)
    return replace(attack, stages=shorter)  # type: ignore[type-var]


def _without_update(attack: Attack) -> Attack:
    """Return an attack that ignores the update. Raise `AttackFailed` if it has no priors that could act alone."""
    stages: tuple[Stage, ...] = getattr(attack, "stages", ())
    if not stages or not hasattr(attack, "objective"):
        raise AttackFailed(f"{attack.name} is not composed of an objective and priors.")
    kept = [stage for stage in stages if stage.terms and not stage.only_above] or [replace(stages[0], steps=1)]
    if generators_of(attack):  # what a generator knows is its images; a prior would lead away from them
        kept = [replace(stages[0], steps=1, terms=())]
    idle = tuple(replace(stage, stop_below=0.0, stop_flat=0.0, only_above=0.0) for stage in kept)
    return replace(attack, objective=IgnoredUpdate(), stages=idle, selection=None, step="exact", restarts=1)  # type: ignore[type-var]


def _closed_form(seen: Observation) -> Reconstruction | None:
    """Return the example that the first layer reveals, if that layer is linear with a bias.

    A row of the gradient of its weight is the example times a number, which is the gradient of its bias (Phong et al.,
    2018).
    """
    first = next((entry for entry in linear_layers(seen) if entry.takes_example), None)
    if first is None or seen.modality is not Modality.PICTURES:
        return None
    weight, bias = (seen.update.tensors.get(f"{first.name}.{kind}") for kind in ("weight", "bias"))
    if weight is None or bias is None or not bias.any():
        return None
    row = int(bias.abs().argmax())
    inputs = (weight[row] / bias[row]).reshape(1, *seen.input_shape)
    return Reconstruction(seen.normalisation.invert(inputs), seen.labels, objective=0.0, labels_granted=True)


def _scored(
    batch: Batch,
    run: Callable[[], tuple[str, Reconstruction]],
    others: Tensor | None,
    name: str,
    attack: Attack | None,
) -> ControlScore:
    """Return the scores of a control, or why it could not run."""
    measure: Measure = MEASURES[batch.modality]
    started = time.perf_counter()
    nothing = ControlScore(name, measure.metric, 0.0, 0.0, 0, len(batch), 0.0)
    try:
        with guarded(name):
            found, guess = run()
        seconds = time.perf_counter() - started
        control, distractors, _ = control_and_gallery(batch, others)
        truth = batch.to("cpu")
        mine = score(truth, guess, distractors=distractors)[measure.metric].per_example
        plain = control.expand_as(truth.inputs)
        plain = plain if attack is None else processed_control(attack, plain)
        theirs = score(truth, Reconstruction(plain, None, objective=0.0))[measure.metric].per_example
    except (AttackFailed, MissingKnowledge, AuditError) as error:
        return replace(nothing, seconds=time.perf_counter() - started, why_not=str(error))
    gains = tuple(a - b for a, b in zip(mine, theirs, strict=True))
    recovered = sum(a >= measure.recovered and b >= measure.recovered_gain for a, b in zip(mine, gains, strict=True))
    means = (sum(values) / len(values) for values in (mine, theirs))
    return ControlScore(found, measure.metric, *means, recovered, len(batch), seconds, gains=gains)
