"""Which settings of a client are worth their cost: the Pareto front, and the best setting by a stated rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..metrics import Interval


@dataclass(frozen=True)
class CostPoint:
    """What one setting of the client costs, and what leaks under it.

    Args:
        name: The setting in words.
        accuracy: Accuracy after all rounds, over the seeds; `None` before a training has finished.
        gain: Mean gain over the control of the attack with the largest one, or `None` without a score.
        obstacles: Why the setting cannot be the best one, in clauses; none if it can.
    """

    name: str
    accuracy: Interval | None
    gain: Interval | None
    obstacles: tuple[str, ...] = ()


def front(points: Sequence[CostPoint]) -> tuple[int, ...]:
    """Return the Pareto front: the points of which no other has at least the accuracy at most the gain, and is better.

    Means are compared. Points without an accuracy or a gain are left out. The order is that of growing accuracy.
    """
    known = [
        (number, point.accuracy.mean, point.gain.mean)
        for number, point in enumerate(points)
        if point.accuracy is not None and point.gain is not None
    ]

    def dominated(accuracy: float, gain: float) -> bool:
        return any(a >= accuracy and g <= gain and (a, g) != (accuracy, gain) for _, a, g in known)

    kept = [entry for entry in known if not dominated(entry[1], entry[2])]
    return tuple(number for number, _, _ in sorted(kept, key=lambda entry: entry[1:]))


def best(points: Sequence[CostPoint]) -> int | None:
    """Return the number of the point with the highest mean accuracy that has no obstacle; `None` if there is none.

    Of equal accuracies, the one with the smallest mean gain is the best.
    """
    fit = [
        (-point.accuracy.mean, point.gain.mean, number)
        for number, point in enumerate(points)
        if not point.obstacles and point.accuracy is not None and point.gain is not None
    ]
    return min(fit)[2] if fit else None
