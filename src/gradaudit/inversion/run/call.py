"""Call any attack in one way: with a checkpoint path if it accepts one, and on several updates at once if it can."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.full_precision import full_precision
from ...values.types import Reconstruction
from ..attack import Attack, Watch, portion
from .gradient_matching import GradientMatching
from .keeper import beside


def accepts_keep(attack: Attack) -> bool:
    """Return whether an attack accepts the keyword `keep`; a user's own attack need not."""
    try:
        return "keep" in inspect.signature(attack).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return False


def shares_passes(attack: Attack, model: nn.Module, observe: Callable[[], Observation]) -> bool:
    """Return whether an attack can process several updates like one in one pass, and is faster that way.

    Args:
        attack: Any attack.
        model: The model of the updates.
        observe: Returns what the adversary sees of one of them; called only if the rest speaks for one pass.
    """
    return isinstance(attack, GradientMatching) and attack.gains(model) and attack.shares(observe())


@full_precision()
def run_attack(
    attack: Attack, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
) -> Reconstruction:
    """Run an attack on one update, with checkpoints at `keep` if the attack supports them.

    Once the result is stored, `keeper.forget(keep)` removes the checkpoints. Raise the errors of the attack.
    """
    if keep is not None and accepts_keep(attack):
        return attack(seen, seed=seed, watch=watch, keep=keep)  # type: ignore[call-arg]
    return attack(seen, seed=seed, watch=watch)


def run_attack_on_all(
    attack: Attack,
    seen: Sequence[Observation],
    *,
    seeds: Sequence[int],
    watch: Watch | None = None,
    keep: Path | None = None,
) -> list[Reconstruction | AttackFailed]:
    """Run an attack on several updates, one seed each: in one pass if it can, otherwise one after another.

    Returns:
        For each update the reconstruction, or the reason why the attack could not run on it.
    """
    if isinstance(attack, GradientMatching) and len(seen) > 1:
        try:
            return attack.many(seen, seeds=seeds, watch=watch, keep=keep)
        except AttackFailed as failure:
            return [failure] * len(seen)
    each = [beside(keep, number) if keep and len(seen) > 1 else keep for number in range(len(seen))]
    found: list[Reconstruction | AttackFailed] = []
    for number, (one, seed, path) in enumerate(zip(seen, seeds, each, strict=True)):
        try:
            mine = portion(watch, len(seen) - number)
            found.append(run_attack(attack, one, seed=seed, watch=mine, keep=path))
        except AttackFailed as failure:
            found.append(failure)
    return found
