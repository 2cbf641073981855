"""Causes that change the sign or the size of an update: the direction of a difference, sums, rates and weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from scipy.optimize import root_scalar
from torch import Tensor

from ...protocol.local_training import rules_of
from ...values.errors import AuditError
from ...values.types import LossFunction
from ..closeness import fitted_factor
from .assumed import Assumed, Cause, Suspect, rounded, short

EQUAL = 2e-3  # relative distance at which a fitted factor is taken for a number with a meaning
MOST = 12  # trainings of one fit


def _sign(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the update with the other sign."""
    yield Suspect(
        assumed.times(-1),
        "the update has the opposite sign: it is after minus before where before minus after is expected, or the "
        "reverse",
        "set update.sign to the other of after-minus-before and before-minus-after",
    )


def _reduction(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client whose loss is the sum over the examples instead of their mean."""
    training, count = assumed.trained, len(assumed.batch)
    size = min(training.minibatch_size or count, count)
    if size == 1:
        return
    what = "the client summed the loss over the examples instead of taking the mean"
    if training.learning_rate is None:
        yield Suspect(
            assumed.times(size),
            f"{what}, so that its update is {size} times as large",
            f"divide the update by {size}, or set training: {{kind: fedavg, learning_rate: {size}}}",
        )
    elif rules_of(training.loss).classes:
        rate = short(training.learning_rate * size)
        fix = f"set training.learning_rate: {rate}, which is the declared rate times {size} examples"
        yield Suspect(assumed.training(loss=_Summed(training.loss)), what, fix)


def _rate(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with the learning rate that fits best."""
    factor, declared = fitted_factor(assumed.target, assumed.predicted), assumed.trained.learning_rate
    if factor <= 0:
        return
    if declared is None:
        rate = rounded(factor)
        yield Suspect(
            assumed.times(rate),
            f"the update is {short(rate)} times the gradient: the difference of the weights after one step with the "
            f"learning rate {short(rate)}",
            f"set training: {{kind: fedavg, learning_rate: {short(rate)}}}",
        )
        return
    rate = fitted_rate(assumed, declared, declared * factor)
    if rate is not None and not math.isclose(rate, declared, rel_tol=EQUAL):
        yield Suspect(
            assumed.training(learning_rate=rate),
            f"the client trained with the learning rate {short(rate)}",
            f"set training.learning_rate: {short(rate)}",
        )


def _weight(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the update of several steps times a constant: its mean step, a weight, or a clipped norm."""
    training, count = assumed.trained, len(assumed.batch)
    if training.learning_rate is None:
        return
    if training.update is None:
        yield Suspect(
            assumed.training(update="gradient"),
            "the client divided its weight difference by the learning rate and the number of steps",
            "set training.update: gradient",
        )
    factor = fitted_factor(assumed.target, assumed.predicted)
    if factor <= 0:
        return
    if math.isclose(factor, count, rel_tol=EQUAL):
        fix = f"divide the update by {count}"
        yield Suspect(assumed.times(count), f"the update is weighted by the {count} examples of the client", fix)
    norm = rounded(assumed.target.norm)
    fix = f"divide the update by {short(factor)}"
    if factor < 1 and math.isclose(norm, assumed.target.norm, rel_tol=1e-5):
        fix += f", or add the defense {{name: clip, norm: {short(norm)}}} if the client clips its updates to this norm"
    yield Suspect(assumed.times(rounded(factor)), f"the update is {short(factor)} times that of the client", fix)


def fitted_rate(assumed: Assumed, first: float, second: float) -> float | None:
    """Return the learning rate whose update has the size of the observed one, or `None` if none was found.

    Args:
        assumed: A client that takes local steps.
        first: A learning rate to start from.
        second: Another one.
    """

    def excess(log_rate: float) -> float:
        factor = fitted_factor(assumed.target, assumed.training(learning_rate=math.exp(log_rate)).predicted)
        if factor <= 0:
            raise AuditError("training.learning_rate: the update at this rate points the other way.")
        return math.log(factor)

    found = solved(excess, math.log(first), math.log(second))
    return None if found is None else rounded(math.exp(found))


def solved(function: Callable[[float], float], first: float, second: float) -> float | None:
    """Return a zero of a function near two starting points, or `None` if none was found or it cannot be computed."""
    if not math.isfinite(second) or first == second:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns where the precision is reached
            result = root_scalar(function, x0=first, x1=second, method="secant", xtol=1e-6, maxiter=MOST)
    except (AuditError, ArithmeticError, ValueError):
        return None
    return float(result.root) if math.isfinite(result.root) else None


@dataclass(frozen=True)
class _Summed:
    """A loss times the number of examples."""

    loss: LossFunction

    def __call__(self, output: Any, labels: Tensor) -> Tensor:
        return self.loss(output, labels) * len(labels)


SIGN = Cause("sign", "sign of the difference", _sign)
REDUCTION = Cause("loss-reduction", "sum or mean of the loss", _reduction)
RATE = Cause("learning-rate", "learning rate", _rate)
WEIGHT = Cause("weight", "factor on the update", _weight)
