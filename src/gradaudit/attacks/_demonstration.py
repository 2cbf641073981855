"""Demonstrations: every attack comes with a small case that it solves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..protocol.local_training import FedSGD, LocalTraining
from ..values.types import Knowledge

A = TypeVar("A")


@dataclass(frozen=True)
class Demonstration:
    """A small case that an attack solves, in plain values, from which the owner of private data can build a client.

    The examples are random ones of the kind that the attack is made for, or images if it works on any.

    Args:
        attack: The attack, shortened so that it takes about a second.
        network: `"linear"` (one linear layer with a bias, whose gradient contains the example exactly: Phong et al.,
            2018), `"smooth"` (a convolution with BatchNorm and a sigmoid, and a linear head), `"flat-text"` (embeddings
            side by side through one smooth hidden layer), `"text-cnn"` (`TextCNN` over rows of pixels),
            `"short-resnet"` (torchvision's `ResNet` with one basic block in each stage), or the name of a model as in
            an audit file.
        examples: B.
        size: Side of the images in pixels.
        facts: Facts that the adversary is granted in addition to the attack's needs.
        training: How the client trains; if there are two clients, the one with the images.
        measure: Key of the metric that says how much was recovered; by default PSNR for images, token accuracy for text
            and cell accuracy for rows.
        least: Smallest difference between the metric and that of a control made without the update, in dB or as a
            share.
        seeded: Whether another seed gives another result; false if the attack is a closed form.
    """

    attack: Any
    network: str = "linear"
    examples: int = 1
    size: int = 4
    facts: Knowledge = Knowledge.NOTHING
    training: LocalTraining = FedSGD()
    measure: str = ""
    least: float = 20.0
    seeded: bool = True


def shortened(attack: A, steps: int, **changes: Any) -> A:
    """Return an attack by gradient matching with `steps` in each stage and without priors, which suit only real data.

    Args:
        attack: An attack with `stages`.
        steps: Number of steps of each stage.
        changes: Other fields of the attack to replace.
    """
    stages = tuple(replace(stage, steps=steps, terms=()) for stage in attack.stages)  # type: ignore[attr-defined]
    return replace(attack, stages=stages, **changes)  # type: ignore[type-var]
