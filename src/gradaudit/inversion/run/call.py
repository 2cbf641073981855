"""Calling any attack in one way: with its place on disk where it takes one, on several updates where it can."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from ...client.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Reconstruction
from ..attack import Attack, Watch
from .gradient_matching import GradientMatching
from .keeper import beside


def accepts_keep(attack: Attack) -> bool:
    """Whether an attack takes the keyword `keep`; one of the user's own need not."""
    try:
        return "keep" in inspect.signature(attack).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return False


def shares_passes(attack: Attack, seen: Observation) -> bool:
    """Return whether several updates like this one share a pass under an attack, and gain by it."""
    return isinstance(attack, GradientMatching) and attack.gains(seen.model) and attack.shares(seen)


def run_attack(
    attack: Attack, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
) -> Reconstruction:
    """Run an attack on one update; it is kept at `keep` while it runs where it can be.

    Once the result is safe, `keeper.forget(keep)` removes what was kept. Raises what the attack raises.
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
    """Run an attack on several updates, one seed each: in one pass where it can, else one after another.

    Returns:
        For each update what was found, or why the attack could not run on it.
    """
    if isinstance(attack, GradientMatching) and len(seen) > 1:
        try:
            return attack.many(seen, seeds=seeds, watch=watch, keep=keep)
        except AttackFailed as failure:
            return [failure] * len(seen)
    each = [beside(keep, number) if keep and len(seen) > 1 else keep for number in range(len(seen))]
    found: list[Reconstruction | AttackFailed] = []
    for one, seed, path in zip(seen, seeds, each, strict=True):
        try:
            found.append(run_attack(attack, one, seed=seed, watch=watch, keep=path))
        except AttackFailed as failure:
            found.append(failure)
    return found
