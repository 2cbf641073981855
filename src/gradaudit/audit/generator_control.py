"""What a generator scores without any update: the control of an attack that searches among its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from .. import metrics
from ..data.modalities import handling_of
from ..inversion.attack import Attack
from ..inversion.run.generator_choice import generators_of
from ..protocol.observation import Observation
from ..values.chance import seeded
from ..values.types import Batch, Reconstruction

DRAWS = 16


@torch.no_grad()
def generator_note(attack: Attack, batch: Batch, observe: Callable[[], Observation]) -> tuple[str, ...]:
    """Return the sentence on the PSNR of a generator's images at random latent vectors, if an attack has a generator.

    That of the attack's start counts as well. Each draw is matched with the batch like a reconstruction. A
    class-conditional generator gets the true labels. The best of many draws is what chance gives to an adversary that
    could compare with the truth.

    Args:
        attack: The attack.
        batch: The private examples.
        observe: Returns what the adversary sees.
    """
    searched = attack if generators_of(attack) else getattr(attack, "start", attack)
    stages: Any = getattr(searched, "stages", ())
    if not generators_of(searched) or not len(batch):
        return ()
    seen = replace(observe(), labels=batch.labels)
    with seeded(0, seen.device):
        drawn = stages[0].parametrisation.start(seen, DRAWS, None).reported(seen).cpu()
    truth, handling = batch.to("cpu"), handling_of(batch.modality)
    matched = [handling.match(truth, Reconstruction(images, None, objective=0.0)).inputs for images in drawn]
    scores = torch.stack([metrics.psnr(images, truth.inputs).mean() for images in matched])
    mean, best = float(scores.mean()), float(scores.max())
    return (
        f"The generator alone, at random latent vectors, scores {mean:.1f} dB PSNR (the mean of {DRAWS} draws, each "
        f"matched with the batch; the best one {best:.1f} dB). Only what exceeds this comes from the update.",
    )
