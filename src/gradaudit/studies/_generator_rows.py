"""The attacks that studies with a generator compare: on pixels, by an untrained network, and by a generator."""

from __future__ import annotations

from dataclasses import replace

from ..attacks.ci_net import ATTACK as CI_NET
from ..attacks.gi_pip import ATTACK as GI_PIP
from ..attacks.gias import ATTACK as GIAS
from ..attacks.gifd import ATTACK as GIFD
from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.part import Term
from ..inversion.parts.priors.auto_encoder_error import AutoEncoderError
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.generator_choice import require_inputs, with_generator
from ..inversion.run.gradient_matching import GradientMatching
from ..models.auto_encoders.trained_auto_encoder import AutoEncoder
from ..models.generators.trained_generator import Generator
from ..models.trained import networks_of
from ..values.errors import AttackFailed
from ._film_cells import film_steps

CIFAR = Generator("cifar-dcgan")
NEEDED = (
    "The generator `cifar-dcgan` and the auto-encoder `cifar-auto-encoder` are searched for in the folder that "
    "GRADAUDIT_ASSETS names. `gradaudit train generator --data cifar10.npz --out FOLDER/cifar-dcgan.safetensors` and "
    "`gradaudit train auto-encoder --data cifar10.npz --out FOLDER/cifar-auto-encoder.safetensors` make them."
)
FRAMES = 5


def filmed(attack: GradientMatching) -> GradientMatching:
    """Return the attack with a few of its iterates recorded."""
    return replace(attack, iterates=film_steps(sum(stage.steps for stage in attack.stages), FRAMES))


def pixels(steps: int | None) -> GradientMatching:
    """Return Inverting Gradients with the total variation of the SoK's studies; its own steps if `steps` is `None`."""
    stage = INVERTING_GRADIENTS.stages[0]
    terms = (Term(TotalVariation(), weight=2e-2),)
    return replace(INVERTING_GRADIENTS, stages=(replace(stage, steps=steps or stage.steps, terms=terms),))


def untrained(steps: int | None) -> GradientMatching:
    """Return CI-Net with so many steps."""
    stage = CI_NET.stages[0]
    return replace(CI_NET, stages=(replace(stage, steps=steps or stage.steps),))


def gias(steps: int | None, generator: Generator = CIFAR) -> GradientMatching:
    """Return GIAS with one restart, half of the steps for the latent vectors and half for the weights."""
    if steps is None:
        return with_generator(GIAS, generator)
    stages = tuple(replace(stage, steps=max(1, steps // 2)) for stage in GIAS.stages)
    return with_generator(replace(GIAS, stages=stages, restarts=1), generator)


def gifd(steps: int | None, generator: Generator = CIFAR) -> GradientMatching:
    """Return GIFD with one restart, a quarter of the steps for the latent vectors and for each of three blocks."""
    if steps is None:
        return with_generator(GIFD, generator)
    stages = tuple(replace(stage, steps=max(1, steps // 4)) for stage in GIFD.stages[:4])
    return with_generator(replace(GIFD, stages=stages, restarts=1), generator)


def gi_pip(steps: int | None) -> GradientMatching:
    """Return GI-PIP with the auto-encoder of CIFAR-10 and the total variation of the SoK's studies."""
    stage = GI_PIP.stages[0]
    terms = (Term(TotalVariation(), weight=2e-2), Term(AutoEncoderError(AutoEncoder("cifar-auto-encoder")), 1e-1))
    return replace(GI_PIP, stages=(replace(stage, steps=steps or stage.steps, terms=terms),))


def alone(generator: Generator = CIFAR) -> GradientMatching:
    """Return what a generator makes without an update: one random latent vector for each image."""
    stage = replace(GIAS.stages[0], optimiser=Adam(lr=0.0), steps=1, terms=())
    return with_generator(replace(GIAS, name="generator-alone", stages=(stage,), restarts=1), generator)


def unmade(attack: object, shape: tuple[int, ...]) -> str | None:
    """Return why the trained networks of an attack are missing or cannot make images of `shape`, or `None`."""
    try:
        require_inputs(attack, shape)
        for network in networks_of(attack):
            network.open()
    except AttackFailed as error:
        return str(error)
    return None
