"""From an attack and an observation to a reconstruction: restarts, one after another or in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ...protocol.observation import Observation
from ...values.chance import forked, set_seed
from ...values.errors import AttackFailed
from ...values.full_precision import full_precision
from ...values.types import Curve, Reconstruction
from ..attack import Watch, portion
from ..parts.label_values import Labels
from ..parts.part import Simulated
from ..step.graphed import GraphedSlope, capture_for
from ..step.matching import Matching
from ..step.one_step import assumed_step
from .allowance import cut_note
from .keeper import Keeper, beside
from .loop import Loop, Outcome, diverged
from .one_pass import OnePass, pays, why_not
from .recipe import Recipe
from .refusal import attacked
from .stage import Guesses, Restart


class Target:
    """One update, with all parts of one attack bound to it.

    Args:
        attack: The attack.
        seen: The observation; it is copied, so that parts may hook the model.
    """

    def __init__(self, attack: Recipe, seen: Observation) -> None:
        self.attack, self.seen = attack, attacked(attack.name, seen)
        one_step = assumed_step(self.seen, checkpoint=attack.checkpoint)  # before any part hooks the model
        self.simulated: Simulated | None = attack.simulation.bind(self.seen) if attack.simulation else None
        bound = attack.objective.bind(self.seen)
        self.matching = Matching(self.seen, bound, attack.step, one_step, self.simulated, attack.checkpoint)
        self.graphed = GraphedSlope(self.matching, attack.objective.varies) if attack.graph else None
        measured = attack.selection is not None or attack.objective.varies
        final = attack.selection or attack.objective
        self.selection = Matching(self.seen, final.bind(self.seen), simulated=self.simulated) if measured else None
        self.labels: list[Labels] = []
        self.notes: list[str] = []
        self.outcomes: list[Outcome | None] = []
        self.curves: list[Curve] = []
        self.failures: list[str] = []
        self.taken, self.cut = 0, False

    def restart(self, number: int, *, draw: bool = False) -> Restart:
        """Return the next restart; if `draw` is true, it draws its first candidate now."""
        attack = self.attack
        labels = None if attack.makes_labels else self._labels()
        restart = Restart(self.matching, labels, self.selection, number, None, self.graphed)
        if not draw:
            return restart
        return restart._replace(first=attack.stages[0].parametrisation.start(restart.seen, attack.seeds, None))

    def _labels(self) -> Labels:
        """Return the granted labels, or those of the attack's label inference."""
        attack, seen = self.attack, self.seen
        if seen.labels is not None and attack.labels.infers:
            labels = Labels(seen.labels, granted=True)
        else:
            labels = attack.labels.infer(seen, attack.seeds)
        self.labels.append(labels)
        return labels

    def add(self, outcome: Outcome | None, loop: Loop, number: int = 0, failure: str | None = None) -> None:
        """Record the result of restart `number` of a loop."""
        self.outcomes.append(outcome)
        self.notes += () if failure else loop.notes
        self.curves.append(loop.traces[number])
        self.taken, self.cut = self.taken + loop.time.taken, self.cut or loop.time.cut
        if outcome is None:
            self.failures.append(failure or str(diverged(self.attack.name, loop.per_run, loop.per_run)))

    def reconstruction(self, notes: tuple[str, ...] = ()) -> Reconstruction:
        """Return the best restart by the attack's own measure. Raise `AttackFailed` if every restart failed."""
        found = [outcome for outcome in self.outcomes if outcome is not None]
        if not found:
            raise AttackFailed(self.failures[0])
        best = min(found, key=lambda outcome: outcome.score)
        read, dropped = self.labels[-1:], (f"A restart was dropped: {failure}" for failure in self.failures)
        cut = (self.taken, self.attack.restarts * sum(stage.steps for stage in self.attack.stages))
        return Reconstruction(
            inputs=best.reported,
            labels=best.labels,
            objective=best.objective,
            verified=self.matching.explained(best.inputs, best.target, best.own),
            labels_granted=any(labels.granted for labels in read),
            trace=tuple(self.curves),
            notes=(
                *(note for labels in read for note in labels.notes),
                *self.matching.notes,
                *(self.graphed.notes if self.graphed else ()),
                *dict.fromkeys(self.notes),
                *notes,
                *dropped,
                *([cut_note(*cut)] if self.cut else []),
            ),
            logits=best.logits,
            iterates=best.iterates,
            cut=cut if self.cut else None,
        )


@full_precision()
def run(attack: Recipe, seen: Observation, seed: int, watch: Watch | None, keep: Path | None = None) -> Reconstruction:
    """Run an attack on one update; neither the observation nor the global random state is changed."""
    if attack.restarts * attack.seeds > 1:
        found = _in_one_pass(attack, [seen], [seed], watch, keep)
        if found is not None:
            return found[0].reconstruction()
    with forked(seen.device):
        set_seed(seed)
        target = Target(attack, seen)
        keepers = [Keeper.of(keep, attack, [seen], [seed], i) if keep else None for i in range(attack.restarts)]
        for number, keeper in enumerate(keepers):
            guesses = Guesses([target.restart(number)], attack.seeds, target.simulated, None)
            loop = Loop(attack, guesses, portion(watch, attack.restarts - number), keeper)
            try:
                target.add(loop.run()[0], loop)
            except AttackFailed as failure:
                target.add(None, loop, failure=str(failure))
        return target.reconstruction()


@full_precision()
def run_many(
    attack: Recipe, seen: Sequence[Observation], seeds: Sequence[int], watch: Watch | None, keep: Path | None = None
) -> list[Reconstruction | AttackFailed]:
    """Run an attack on several updates, in one pass if that is possible and faster."""
    found = _in_one_pass(attack, seen, seeds, watch, keep) if len(seen) > 1 and _alike(seen) else None
    if found is None:
        each = [beside(keep, number) if keep else None for number in range(len(seen))]
        runs = enumerate(zip(seen, seeds, each, strict=True))
        return [
            _or_failure(partial(run, attack, one, seed, portion(watch, len(seen) - number), path))
            for number, (one, seed, path) in runs
        ]
    others = len({id(one) for one in seen}) - 1
    note = (f"Ran in one pass with {others} other updates of the same model.",) if others else ()
    return [_or_failure(partial(target.reconstruction, note)) for target in found]


def _in_one_pass(
    attack: Recipe, seen: Sequence[Observation], seeds: Sequence[int], watch: Watch | None, keep: Path | None
) -> list[Target] | None:
    """Run all restarts of all updates side by side; return `None` if that is impossible or slower."""
    if not gains(attack, seen[0].model):
        return None
    with forked(seen[0].device):
        targets, restarts = [], []
        for one, seed in zip(seen, seeds, strict=True):
            set_seed(seed)
            targets.append(Target(attack, one))
            if why_not(attack.parts[:-1], attack.stages, targets[-1].matching):
                return None
            restarts += [targets[-1].restart(number, draw=True) for number in range(attack.restarts)]
        together = OnePass([restart.matching for restart in restarts for _ in range(attack.seeds)])
        keeper = Keeper.of(keep, attack, seen, seeds, "all") if keep else None
        loop = Loop(attack, Guesses(restarts, attack.seeds, None, together), watch, keeper)
        try:
            outcomes = loop.run()
        except (RuntimeError, NotImplementedError) as refusal:
            if "vmap" in str(refusal) or "batching rule" in str(refusal):
                return None  # an operation of this model that cannot be mapped
            raise
    for target in targets:
        if target.graphed is not None and not target.graphed.notes:
            target.graphed.refuse("all candidates share a pass (together)")
    for number, outcome in enumerate(outcomes):
        targets[number // attack.restarts].add(outcome, loop, number)
    return targets


def gains(attack: Recipe, model: nn.Module) -> bool:
    """Return whether candidates should share a pass if they can; a graph is faster than that for a few of them."""
    if attack.together is not None:
        return attack.together
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return pays(model) and not (attack.graph and capture_for(device))


def shares(attack: Recipe, seen: Observation) -> bool:
    """Return whether updates like this one can share a pass."""
    return not why_not(attack.parts[:-1], attack.stages, Target(attack, seen).matching)


def _alike(seen: Sequence[Observation]) -> bool:
    """Return whether the updates are of the same model and kind of training."""
    first = seen[0]
    state = list(first.model.state_dict().values())
    return all(
        one.training == first.training
        and one.batch_size == first.batch_size
        and one.input_shape == first.input_shape
        and one.update.tensors.keys() == first.update.tensors.keys()
        and all(map(torch.equal, state, one.model.state_dict().values()))
        for one in seen[1:]
    )


def _or_failure(find: Callable[[], Reconstruction]) -> Reconstruction | AttackFailed:
    try:
        return find()
    except AttackFailed as failure:
        return failure
