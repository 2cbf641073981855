"""Any attack whose reconstruction is denoised afterwards (Carletti et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Knowledge, Reconstruction
from ...values.validation import Checked
from ..attack import Attack, Watch
from ..parts.denoisers import Denoiser
from ..parts.denoisers.tv_chambolle import TvChambolle
from ..parts.objectives.cosine import Cosine
from ..parts.part import Part, Stage
from ..step.matching import END, Matching
from .call import run_attack
from .recipe import Recipe
from .refusal import attacked, parts_used, require_fit
from .restarts import Target


@dataclass(frozen=True)
class Denoised(Checked):
    """An attack on images whose reconstruction is denoised afterwards.

    GUIDE (Carletti et al., 2025, arXiv:2510.17621) denoises what another attack returns. A denoised reconstruction is
    no longer the one that the attack matched: its objective (of attacks composed of parts; otherwise NaN) and whether
    it explains the update are computed again. `post_process` is all that happens after the attack. An audit applies it
    to its control, too, so that smoothing alone is no gain.

    Args:
        attack: Any attack on images, on a single update.
        denoiser: The filter.

    Raises:
        AttackFailed: The attack takes two updates.
    """

    attack: Attack
    denoiser: Denoiser = field(default_factory=TvChambolle)

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(self.attack, "updates", 1) != 1:
            raise AttackFailed(f"Denoised: {self.attack.name} takes two updates. Choose an attack on one.")

    @property
    def name(self) -> str:
        """The name of the attack, marked as denoised."""
        return f"{self.attack.name}-denoised"

    @property
    def paper(self) -> str:
        """The paper of the attack."""
        return str(getattr(self.attack, "paper", ""))

    @property
    def deviations(self) -> tuple[str, ...]:
        """The deviations of the attack, and of its denoising from GUIDE."""
        own = (
            f"its reconstruction is denoised by {self.denoiser!r}, where GUIDE (arXiv:2510.17621) uses a diffusion "
            "model that was trained on similar images"
        )
        return (*getattr(self.attack, "deviations", ()), own)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the attack, if it has any."""
        return tuple(getattr(self.attack, "stages", ()))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the attack, and the denoiser."""
        return (*getattr(self.attack, "parts", ()), self.denoiser)

    @property
    def needs(self) -> Knowledge:
        """The needs of the attack and of the denoiser."""
        return self.attack.needs | self.denoiser.needs

    def used(self, granted: Knowledge) -> tuple[Any, ...]:
        """Return the parts that are used if the adversary knows `granted`."""
        return (*parts_used(self.attack, granted), self.denoiser)

    def post_process(self, inputs: Tensor) -> Tensor:
        """Return images `[B, C, H, W]` in [0, 1] as they would be reported if the attack had returned `inputs`."""
        return self.denoiser(inputs)

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack and denoise its reconstruction; arguments and errors as for the attack."""
        require_fit(self, seen.knowledge, seen.modality)
        found = run_attack(self.attack, seen, seed=seed, watch=watch, keep=keep)
        inputs = self.post_process(found.inputs)
        objective, verified = self._judged(seen, replace(found, inputs=inputs))
        return replace(
            found,
            inputs=inputs,
            objective=objective,
            verified=verified,
            iterates=tuple((step, self.post_process(one)) for step, one in found.iterates),
            notes=(*found.notes, f"Denoised by {self.denoiser!r} after the attack."),
        )

    @torch.no_grad()
    def _judged(self, seen: Observation, found: Reconstruction) -> tuple[float, bool]:
        """Return the objective of a denoised reconstruction, and whether its update equals the observed one."""
        labels = found.labels if found.logits is None else found.logits
        if labels is None:
            return float("nan"), False
        copy = attacked(self.name, seen)
        inputs = seen.normalisation.apply(found.inputs.to(copy.update.values[0]))
        if isinstance(self.attack, Recipe) and self.attack.simulation is None:
            target = Target(self.attack, seen)
            value = (target.selection or target.matching).value(inputs, labels, END)
            return float(value), target.matching.explained(inputs, labels)
        return float("nan"), Matching(copy, Cosine().bind(copy)).explained(inputs, labels)
