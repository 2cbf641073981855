"""GI-PIP: gradient inversion with an auto-encoder that was trained on public images (Sun et al., ICASSP 2024)."""

from dataclasses import replace

from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.part import Term
from ..inversion.parts.priors.auto_encoder_error import AutoEncoderError
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration
from .inverting_gradients import EXACT as INVERTING_GRADIENTS

WEIGHTS = {1: (1e-6, 1e-6), 4: (1e-5, 1e-4), 8: (5e-4, 5e-4)}
"""Batch size -> the paper's weights of total variation and of the anomaly score."""


def _terms(batch_size: int) -> tuple[Term, ...]:
    variation, anomaly = WEIGHTS[batch_size]
    return Term(TotalVariation(), variation), Term(AutoEncoderError(), anomaly)


ATTACK = GradientMatching(
    name="gi-pip",
    paper="arXiv:2401.11748",
    objective=Cosine(),
    labels=KnownLabels(),
    stages=(replace(INVERTING_GRADIENTS.stages[0], steps=10_000, terms=_terms(1)),),
    deviations=(
        "Adam sees the sign of the gradient, and its learning rate decays, as in Inverting Gradients; of its optimiser "
        "the paper's learning rate of 0.1 and 10 000 steps (CIFAR-10) are known to us",
        "tau is the error of the given auto-encoder on held-out images, where the paper fixes 0.001 (CIFAR-10)",
        "the default auto-encoder was trained on Fashion-MNIST; for other images one has to be trained",
        "its weights are those for one image; the paper's for 4 images are 1e-5 and 1e-4, for 8 both 5e-4 "
        "(stages.0.terms.0.weight, stages.0.terms.1.weight)",
        "returns the iterate with the lowest total, where the authors' code may return the last",
    ),
)

# The prior stays, because the attack is not GI-PIP without it; the images are of the size of its auto-encoder.
DEMONSTRATION = Demonstration(replace(ATTACK, stages=(replace(ATTACK.stages[0], steps=70),)), size=28, least=6.0)
