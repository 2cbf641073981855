"""GION: CI-Net's untrained network (Zhang et al., ICCV 2023) with labels optimised together with the images."""

from dataclasses import replace

from ..inversion.parts.labels.joint import JointLabels
from ..inversion.parts.parametrisations.untrained_network import UntrainedNetwork
from ._demonstration import Demonstration, shortened
from .ci_net import ATTACK as CI_NET

ATTACK = replace(
    CI_NET,
    name="gion",
    labels=JointLabels(),
    stages=(replace(CI_NET.stages[0], parametrisation=UntrainedNetwork(labels=True)),),
    deviations=(
        "CI-Net and GION are names of one method, whose paper takes the labels as known; here a linear layer on the "
        "noise generates them, as in GRNN, and they are optimised with the images",
        *CI_NET.deviations,
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 80), least=10.0)
