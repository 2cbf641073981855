"""Causes in the client's local training: its layers' modes, its steps, and its optimiser."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from ...values.errors import AuditError
from ..closeness import fitted_factor
from .assumed import Assumed, Cause, Suspect, inner, rounded, short
from .scaling import fitted_rate, solved

EPOCHS = range(1, 11)
BETTER = 0.7  # factor by which several steps must come closer in direction before their learning rate is fitted
MOMENTA = (0.9, 0.5, 0.8, 0.95, 0.99)


def _batch_norm(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with BatchNorm in the other mode."""
    if any(isinstance(module, _BatchNorm) for module in assumed.client.model.modules()):
        other = "train" if assumed.trained.batch_norm == "eval" else "eval"
        what = "the statistics of its batch" if other == "train" else "its running statistics"
        yield Suspect(
            assumed.training(batch_norm=other),
            f"the client trained with BatchNorm in {other} mode, which normalises with {what}",
            f"set training.batch_norm: {other}",
        )


def _steps(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with other numbers of epochs and other sizes of its minibatches."""
    training = assumed.trained
    if training.learning_rate is None:
        yield from _unknown_rate(assumed)
        return
    for epochs in EPOCHS:
        if epochs != training.epochs:
            yield _changed(assumed, f"the client trained for {_epochs(epochs)}", epochs=epochs)
    count, sizes = len(assumed.batch), [2**power for power in range(10)]
    for size in (None, *sizes):
        if (size or count) != min(training.minibatch_size or count, count) and (size or 0) < count:
            each = "the whole batch" if size is None else f"minibatches of {size}"
            yield _changed(assumed, f"the client trained on {each} in every step", minibatch_size=size)


def _unknown_rate(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client that took several steps on the whole batch, each number with the learning rate that fits best.

    The rate is fitted for the largest number first; rate times number is nearly the same for the others.
    """
    factor, most = fitted_factor(assumed.target, assumed.predicted), EPOCHS[-1]
    if factor <= 0:
        return
    probe = assumed.training(epochs=most, learning_rate=factor / most)
    if probe.gap.direction > BETTER * assumed.gap.direction:
        return
    longest = fitted_rate(probe, factor / most, 1.1 * factor / most)
    total = factor if longest is None else longest * most
    tried: list[tuple[float, int]] = []
    for epochs in EPOCHS[1:]:
        with suppress(AuditError):  # the training diverges
            tried.append((assumed.training(epochs=epochs, learning_rate=total / epochs).gap.direction, epochs))
    for _, epochs in sorted(tried):
        start = total / epochs
        rate = fitted_rate(assumed.training(epochs=epochs, learning_rate=start), start, 1.05 * start)
        if rate is not None:
            yield Suspect(
                assumed.training(epochs=epochs, learning_rate=rate),
                f"the client took {epochs} local steps with the learning rate {short(rate)}",
                f"set training: {{kind: fedavg, epochs: {epochs}, learning_rate: {short(rate)}}}",
            )


def _momentum(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with and without momentum, and with the other optimiser."""
    training = assumed.trained
    if training.learning_rate is None:
        return
    if training.optimiser == "adam":
        yield _changed(assumed, "the client trained with SGD", optimiser="sgd")
        return
    several = training.steps(len(assumed.batch)) > 1
    for nesterov in (False, True):
        for momentum in MOMENTA if several or nesterov else ():
            if (momentum, nesterov) != (training.momentum, training.nesterov):
                kind = "Nesterov momentum" if nesterov else "momentum"
                changes = {"momentum": momentum, "nesterov": nesterov}
                yield _changed(assumed, f"the client trained with {kind} {momentum}", **changes)
    if training.momentum:
        yield _changed(assumed, "the client trained without momentum", momentum=0.0, nesterov=False)
    yield _changed(assumed, "the client trained with Adam", optimiser="adam", momentum=0.0, nesterov=False)


def _weight_decay(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with the weight decay that fits best, and without one."""
    training = assumed.trained
    if training.weight_decay:
        yield _changed(assumed, "the client trained without weight decay", weight_decay=0.0)
    rate = training.learning_rate
    base = assumed.training(epochs=1, learning_rate=1.0) if rate is None else assumed
    weights = {name: value.detach().double() for name, value in assumed.client.model.named_parameters()}

    def left(decay: float) -> float:
        predicted = base.training(weight_decay=max(0.0, decay)).predicted
        rest = {k: o - predicted[k] for k, o in base.target.tensors.items() if k in predicted}
        return inner(rest, weights)

    declared = training.weight_decay
    shared = {name: weights[name] for name in base.target.tensors if name in weights}
    push = (rate or 1.0) * base.trained.steps(len(base.batch)) * inner(shared, weights)
    decay = solved(left, declared, declared + left(declared) / push) if push else None
    if decay is None or decay <= 0 or math.isclose(decay, declared, rel_tol=2e-3):
        return
    decay = rounded(decay)
    fix = f"set training.weight_decay: {short(decay)}"
    if rate is None:
        fix = f"set training: {{kind: fedavg, learning_rate: 1, weight_decay: {short(decay)}}}"
    sentence = f"the client trained with the weight decay {short(decay)}"
    yield Suspect(base.training(weight_decay=decay), sentence, fix)


def _dropout(assumed: Assumed) -> Iterator[Suspect]:
    """Yield the client with dropout, if its network has any, or without."""
    if assumed.trained.dropout:
        yield _changed(assumed, "the client trained without dropout", dropout=False)
        return
    active = assumed.training(dropout=True)
    if active.random:
        yield Suspect(
            active,
            "the client trained with dropout, and the update is as far from the mean of its runs as any run is",
            "set training.dropout: true; an attack cannot know which units were dropped, so expect less of it",
        )


def _changed(assumed: Assumed, sentence: str, **changes: Any) -> Suspect:
    """Return the client with changed fields of its training, and the instruction to write them into the audit file."""
    told = " and ".join(f"training.{key}: {_written(value)}" for key, value in changes.items())
    return Suspect(assumed.training(**changes), sentence, f"set {told}")


def _written(value: Any) -> str:
    """Return a value as in an audit file."""
    return value if isinstance(value, str) else json.dumps(value)


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


BATCH_NORM = Cause("batch-norm", "mode of BatchNorm", _batch_norm)
STEPS = Cause("local-steps", "number of local steps", _steps)
MOMENTUM = Cause("optimiser", "momentum and optimiser", _momentum)
WEIGHT_DECAY = Cause("weight-decay", "weight decay", _weight_decay)
DROPOUT = Cause("dropout", "dropout", _dropout)
