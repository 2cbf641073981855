"""Any attack as an adversary runs it who knows the client's defense (Balunović et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...protocol.defenses import ActsOn, Defense, in_comparing_order
from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Knowledge, Reconstruction, Tensors
from ..attack import Attack, Watch
from .call import run_attack
from .refusal import parts_used

AssumedDefense = Defense | type[Defense]
"""A defense with its parameters, or its family alone."""


@dataclass(frozen=True)
class Adaptive:
    """An attack by an adversary that knows the client's defense.

    Several observed updates of one batch are joined first (`Defense.joined`). Gradient matching then compares under
    the defense (`Defense.mismatch`, `Defense.compared`); every other attack works on the joined update.

    Args:
        attack: Any attack.
        assumed: The defenses that the adversary assumes, each as a value or, if only its family is known, as a class,
            whose parameters are then estimated from the update (`Defense.estimated`). If empty, it uses the defenses
            that the observation grants (DEFENSE).
    """

    attack: Attack
    assumed: tuple[AssumedDefense, ...] = ()

    @property
    def name(self) -> str:
        """The name of the attack, marked as adaptive."""
        return f"{self.attack.name} (adaptive)"

    @property
    def needs(self) -> Knowledge:
        """The needs of the attack, and DEFENSE if nothing is assumed."""
        return self.attack.needs | self._grant

    def used(self, granted: Knowledge) -> tuple[Any, ...]:
        """Return the parts that are used if the adversary knows `granted`, and this wrapper, which needs DEFENSE."""
        return (*parts_used(self.attack, granted), _Needs(self._grant))

    def __getattr__(self, name: str) -> Any:
        """Return what the attack says of itself: its paper, objective, stages and deviations."""
        if name.startswith("_") or name in ("attack", "many", "shares", "gains"):
            raise AttributeError(name)
        return getattr(self.attack, name)

    @property
    def _grant(self) -> Knowledge:
        return Knowledge.NOTHING if self.assumed else Knowledge.DEFENSE

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack under the defenses; arguments and errors as for the attack.

        Raises:
            AttackFailed: The parameters of a family cannot be estimated from the update, or there is no defense.
        """
        rounds = (seen.update.values, *seen.rounds)
        defenses = self._defenses(seen, rounds)
        if not defenses:
            raise AttackFailed(f"{self.name}: the client has no defense to adapt to.")
        update = joined(seen, rounds, defenses)
        notes = (f"Joined from {len(rounds)} updates of the same batch.",) if len(rounds) > 1 else ()
        known = replace(update, defenses=defenses, knowledge=seen.knowledge | Knowledge.DEFENSE)
        found = run_attack(self.attack, known, seed=seed, watch=watch, keep=keep)
        return replace(found, notes=(*found.notes, *notes))

    def _defenses(self, seen: Observation, rounds: tuple[Tensors, ...]) -> tuple[Defense, ...]:
        if not self.assumed:
            return seen.defenses or ()
        return tuple(one if isinstance(one, Defense) else one.estimated(rounds) for one in self.assumed)


@dataclass(frozen=True)
class _Needs:
    needs: Knowledge


def adaptive(attack: Attack, *assumed: AssumedDefense) -> Adaptive:
    """Return the attack as an adversary runs it who knows, or assumes, these defenses; see `Adaptive`.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5))
    >>> client = ga.Client(net, defenses=[ga.defenses.TopK(0.5)])
    >>> seen = client.share(ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])), ["priors", "DEFENSE"])
    >>> attack = ga.adaptive(ga.attacks.IDLG)
    >>> attack.name, attack(seen).labels
    ('idlg (adaptive)', tensor([3]))
    """
    return Adaptive(attack, assumed)


def joined(seen: Observation, rounds: tuple[Tensors, ...], defenses: tuple[Defense, ...]) -> Observation:
    """Return the observation with one update in place of several, joined as the last defense of the update says."""
    if len(rounds) == 1:
        return seen
    ordered = in_comparing_order(defenses)
    last = next((one for one in reversed(ordered) if one.acts_on is not ActsOn.MODEL), ordered[-1])
    values = last.joined(rounds)
    tensors = dict(zip(seen.update.tensors, values, strict=True))
    return replace(seen, update=replace(seen.update, tensors=tensors), rounds=())
