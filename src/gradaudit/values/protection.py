"""What is known of how the defenses of a client protect one update: plain figures that a finding holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DefenseEffect:
    """What one defense, or all of them together, did to one update.

    Args:
        defense: Name and settings of the defense.
        cosine: Cosine between the update before and after, or `None` if one of them is zero.
        norm_kept: L2 norm after, divided by that before, or `None` if that is zero.
        changed: Share of the entries that changed.
        ratio: L2 norm of the change, divided by that of the update before: for a defense that adds noise, its
            noise-to-gradient ratio. `None` if the update before is zero.
        buffers_touched: Number of buffers that changed.
        epsilon: Epsilon that the update spends in this round, or `None` if none is known.
        delta: The delta of this epsilon.
        unit: Whose presence epsilon is about: `client`, the whole update, or `record`, one example; else empty.
        no_op: Whether nothing changed.
        why_not: Why nothing is known, a sentence, or empty.
    """

    defense: str
    cosine: float | None = None
    norm_kept: float | None = None
    changed: float | None = None
    ratio: float | None = None
    buffers_touched: int = 0
    epsilon: float | None = None
    delta: float = 0.0
    unit: str = ""
    no_op: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class CalibratedNoise:
    """Gaussian noise of known size relative to what one update, or one example of it, can contribute.

    Args:
        multiplier: Standard deviation of the noise on each entry, divided by the radius C of a ball that contains
            every possible contribution.
        steps: Number of noisy steps that the update sums up.
        unit: Whose contribution is bounded: `client`, the whole update, or `record`, one example.
    """

    multiplier: float
    steps: int
    unit: str


@dataclass(frozen=True)
class Protection:
    """What is known of the protection of one update.

    Args:
        effects: What each defense did, in the order in which they act; with several, also all of them together.
        unknown: Why no effect is known, a sentence, or empty.
        buffers: Number of buffers that leave the client with the update.
        noise: The calibrated noise, or `None`.
        why_not: Why no noise is calibrated, a sentence, or empty.
        size: N, the number of values of one image; 0 for other examples.
        length: Smallest L2 norm of an image of the batch as the network sees it, in pixels; 0 if unknown.
        label_ratios: Smallest and largest ratio between the gradient of the bias of a class of the batch and the
            standard deviation of its noise, or `None`.
    """

    effects: tuple[DefenseEffect, ...] = ()
    unknown: str = ""
    buffers: int = 0
    noise: CalibratedNoise | None = None
    why_not: str = ""
    size: int = 0
    length: float = 0.0
    label_ratios: tuple[float, float] | None = None
