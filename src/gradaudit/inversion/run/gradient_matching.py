"""Attacks by gradient matching, each one a frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Reconstruction
from ..attack import Watch
from .recipe import Recipe
from .refusal import require_fit
from .restarts import gains, run, run_many, shares


@dataclass(frozen=True)
class GradientMatching(Recipe):
    """An attack by gradient matching: optimise inputs until their update resembles the observed one.

    Its fields are those of `Recipe`.

    >>> print(ga.attacks.DLG.name, ga.attacks.DLG.paper, ga.attacks.DLG.needs.names)
    dlg arXiv:1906.08935 ('BATCH_SIZE',)
    """

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Seed of every random choice; equal seeds give equal results on the CPU.
            watch: Callback for the progress.
            keep: Files `keep-N.pt` store checkpoints of the run, at most half a minute old; a second call resumes from
                them. They stay until `keeper.forget(keep)`, so that nothing is lost before the result is stored.

        Raises:
            MissingKnowledge: A part needs a fact that was not granted.
            AttackFailed: A part cannot work on this observation, or the objective became infinite or NaN in every
                restart.
        """
        require_fit(self, seen.knowledge, seen.modality)
        return run(self, seen, seed, watch, keep)

    def many(
        self,
        seen: Sequence[Observation],
        *,
        seeds: Sequence[int],
        watch: Watch | None = None,
        keep: Path | None = None,
    ) -> list[Reconstruction | AttackFailed]:
        """Run the attack on several updates: in one pass if that is possible and faster, otherwise one after another.

        Args:
            seen: What the adversary sees of each update.
            seeds: One seed for each update; its first candidates are those that it would draw alone.
            watch: Callback for the progress of the whole.
            keep: Path of the checkpoints of all updates, as for one update.

        Returns:
            For each update the reconstruction, or the reason why there is none.

        Raises:
            MissingKnowledge: A part needs a fact that was not granted.
            AttackFailed: A part is made for another kind of data.
        """
        for one in seen:
            require_fit(self, one.knowledge, one.modality)
        return run_many(self, seen, seeds, watch, keep)

    def gains(self, model: nn.Module) -> bool:
        """Return whether updates of such a model should share a pass if they can."""
        return gains(self, model)

    def shares(self, seen: Observation) -> bool:
        """Return whether updates like this one can share a pass."""
        return shares(self, seen)
