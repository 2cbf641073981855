"""A matching attack that begins at the reconstruction of another attack (as proposed by Chen & Liu, 2025)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...protocol.observation import Observation
from ...values.errors import AttackFailed, AuditError
from ...values.types import Knowledge, Modality, Reconstruction
from ...values.validation import Checked
from ..attack import Attack, Watch, portion
from ..parts.part import Candidate, Parametrisation, Part, Stage
from .call import run_attack
from .gradient_matching import GradientMatching
from .keeper import beside
from .refusal import modality_of, parts_used, require_fit


@dataclass(frozen=True)
class Started(Checked):
    """An attack by gradient matching whose first candidate is the reconstruction of another attack.

    Matching alone gets stuck far from the images if the update is small or defended; a learned inverter or a closed
    form is often near them, but not exact. The first seed of every restart begins there, further seeds as usual.

    Args:
        attack: An attack by gradient matching on images, whose first stage optimises pixels (`Pixels`, `Coarse`).
        start: Any attack on images, on a single update.

    Raises:
        AttackFailed: One of the two is not made for images, the start takes two updates, or the first stage does not
            start from images.
    """

    attack: GradientMatching
    start: Attack

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(self.start, "updates", 1) != 1:
            raise AttackFailed(f"start: {self.start.name} takes two updates. Choose an attack on one.")
        for attack in (self.attack, self.start):
            if modality_of(attack) not in (None, Modality.PICTURES):
                raise AttackFailed(
                    f"start: {attack.name} is made for {modality_of(attack)}; only an attack on {Modality.PICTURES} "
                    "starts from another one."
                )
        first = self.attack.stages[0].parametrisation
        if not first.continues or getattr(first, "afresh", False):
            raise AttackFailed(
                f"start: {self.attack.name} does not begin at images, as its first stage optimises {first!r}. Choose "
                "an attack that optimises pixels, such as inverting-gradients."
            )

    @property
    def name(self) -> str:
        """The names of both attacks."""
        return f"{self.start.name}-{self.attack.name}"

    @property
    def paper(self) -> str:
        """The papers of both attacks."""
        return ", ".join(filter(None, (str(getattr(self.start, "paper", "")), self.attack.paper)))

    @property
    def deviations(self) -> tuple[str, ...]:
        """The deviations of both attacks."""
        of_start = (f"start: {sentence}" for sentence in getattr(self.start, "deviations", ()))
        return (*of_start, *self.attack.deviations)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of the matching attack."""
        return self.attack.stages

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of both attacks."""
        return (*getattr(self.start, "parts", ()), *self.attack.parts)

    @property
    def needs(self) -> Knowledge:
        """The needs of both attacks."""
        return self.start.needs | self.attack.needs

    def used(self, granted: Knowledge) -> tuple[Any, ...]:
        """Return the parts that are used if the adversary knows `granted`."""
        return (*parts_used(self.start, granted), *parts_used(self.attack, granted))

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the start, then the matching attack; arguments as for the latter. Of a time limit the start gets half.

        Raises:
            MissingKnowledge: One of the two needs a fact that was not granted.
            AttackFailed: One of the two fails, or the start returns no images of the batch's shape.
        """
        require_fit(self, seen.knowledge, seen.modality)
        try:
            of_start = beside(keep, "start") if keep else None
            first = run_attack(self.start, seen, seed=seed, watch=portion(watch, 2), keep=of_start)
        except AttackFailed as failure:
            raise AttackFailed(f"{self.name}: its start failed. {failure}") from failure
        found = self._from(first, seen)(seen, seed=seed, watch=watch, keep=keep)
        notes = (*(f"{self.start.name}: {note}" for note in first.notes), *found.notes)
        return replace(found, notes=(f"Started from the reconstruction of {self.start.name}.", *notes))

    def _from(self, first: Reconstruction, seen: Observation) -> GradientMatching:
        """Return the matching attack, with the images of a reconstruction as its first candidate."""
        shape = (seen.batch_size or len(first.inputs), *seen.input_shape)
        if tuple(first.inputs.shape) != shape or not first.inputs.isfinite().all():
            raise AttackFailed(
                f"{self.name}: its start returned no {shape[0]} finite images of shape {list(shape[1:])}. Found "
                f"{list(first.inputs.shape)}."
            )
        stage, *later = self.attack.stages
        images = seen.normalisation.apply(first.inputs.detach().clamp(0, 1).to(seen.update.values[0]))
        begun = replace(stage, parametrisation=_begun(stage.parametrisation, images))
        return replace(self.attack, name=self.name, stages=(begun, *later))


def _begun(inner: Parametrisation, images: Tensor) -> Parametrisation:
    """Return a parametrisation that starts from normalised `images` `[B, C, H, W]`."""
    raw = images.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    found = _Begun(inner, hashlib.sha256(raw).hexdigest())
    object.__setattr__(found, "images", images)
    return found


@dataclass(frozen=True)
class _Begun(Parametrisation):
    """A parametrisation that starts from given images; it exists within one run.

    Args:
        inner: The parametrisation of the attack.
        digest: Hash of the images, so that a checkpoint is only resumed from the same start.
    """

    inner: Parametrisation
    digest: str

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        return self.inner.needs

    @property
    def independent(self) -> bool:  # type: ignore[override]
        return self.inner.independent

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        images: Tensor = vars(self)["images"]
        others = self.inner.start(seen, seeds, None).decode().detach()
        if others.shape[1:] != images.shape:  # copies of the batch
            return self.inner.start(seen, seeds, _Given(images.expand(seeds, *images.shape)))
        return self.inner.start(seen, seeds, _Given(torch.cat([images[None], others[1:]])))


class _Given(Candidate):
    """Images `[S, B, C, H, W]`, normalised, in place of the result of an earlier stage."""

    def __init__(self, images: Tensor) -> None:
        self.variables = {"pixels": images.clone()}

    def decode(self) -> Tensor:
        return self.variables["pixels"]


def started_from(start: Attack, attack: Attack, at: str) -> Started:
    """Return `attack` with the reconstruction of `start` as its first candidate; `at` is its place in errors.

    Raises:
        AuditError: One of the two does not suit the other (`Started`).
    """
    if not isinstance(attack, GradientMatching):
        raise AuditError(
            f"{at}.start: {attack.name} is not by gradient matching, so that it has no first candidate. Remove start, "
            "or choose an attack such as inverting-gradients."
        )
    try:
        return Started(attack, start)
    except AttackFailed as failure:
        raise AuditError(f"{at}.{failure}") from failure
