"""Demonstrations: with every attack comes a small case that it solves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..client.local_training import FedSGD, LocalTraining
from ..values.types import Knowledge

A = TypeVar("A")


@dataclass(frozen=True)
class Demonstration:
    """A small case that an attack solves, in plain values: whoever holds private data can build a client from it.

    The examples are random ones of the kind that the attack is made for, pictures where it takes any.

    Args:
        attack: The attack, shortened so that it takes about a second.
        network: `"linear"` (one linear layer with a bias, whose gradient holds the example exactly: Phong et al.,
            2018), `"smooth"` (a convolution with BatchNorm and a sigmoid, and a linear head), `"flat-text"` (embeddings
            side by side through one smooth hidden layer), or the name of a model as in an audit file.
        examples: B.
        size: Side of the pictures in pixels.
        facts: What the adversary is granted beside what the attack needs.
        training: How the client trains; of two clients, that of the pictures.
        measure: Key of the metric that says how much was recovered; by default PSNR of pictures, token accuracy of text
            and cell accuracy of rows.
        least: How much larger the metric is at least than that of a guess made without the update: dB, or a share.
        seeded: Another seed gives another result; not so where the attack is a closed form.
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
    """Return an attack by gradient matching with `steps` in each stage and without priors, which know only real data.

    Args:
        attack: With `stages`.
        steps: Of each stage.
        changes: Other fields of the attack.
    """
    stages = tuple(replace(stage, steps=steps, terms=()) for stage in attack.stages)  # type: ignore[attr-defined]
    return replace(attack, stages=stages, **changes)  # type: ignore[type-var]
