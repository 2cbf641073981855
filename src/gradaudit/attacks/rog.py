"""Reconstruction from Obfuscated Gradient (Yue et al., USENIX Security 2023): a small image, enlarged, in few steps."""

from dataclasses import replace

from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.euclidean import Euclidean
from ..inversion.parts.optimisers.annealed_adam import AnnealedAdam
from ..inversion.parts.parametrisations.upsampled import Upsampled
from ..inversion.parts.part import Stage
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration

ATTACK = GradientMatching(
    name="rog",
    paper="arXiv:2206.04055",
    objective=Euclidean(),
    labels=KnownLabels(),
    stages=(Stage(Upsampled(factor=4), AnnealedAdam(lr=0.05, floor=0.1), steps=100),),
    deviations=(
        "first stage only: the second stage refines the result with networks trained on natural images (a conditional "
        "generator; a denoiser and super-resolution), which are left out. A fixed filter can follow: "
        "Denoised(ATTACK, denoiser)",
        "the learning rate is in units of normalised pixels, and the first image is uniform over the valid pixels",
        "after several local steps the client's training is simulated as it is known; the authors always take full-"
        "batch steps",
        "returns the iterate with the lowest objective, where the authors' code returns the last",
    ),
)

# The demonstration's image is noise, of which a smaller image holds little.
_WHOLE = replace(ATTACK.stages[0], parametrisation=Upsampled(factor=1))
DEMONSTRATION = Demonstration(replace(ATTACK, stages=(_WHOLE,)))
