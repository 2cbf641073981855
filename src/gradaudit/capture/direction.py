"""The sign of a weight difference, before minus after or after minus before, determined from the last layer.

With the sign of a gradient, ∂L/∂b_k = mean_i (p_ik - 1[y_i = k]) is negative only for classes of the batch. So at most
as many entries are negative as the batch has classes. And the rows ∂L/∂W_k of its classes deviate more from the
component common to all rows, because they contain the features of their own examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inversion.parts.labels._head import Head, find_head, signed_head
from ..inversion.parts.labels._probe import require_positive_masses
from ..protocol.observation import Observation
from ..values.errors import AttackFailed, AuditError
from .kinds import Direction, FileKind, UpdateReading

CLEAR = 30.0  # drop of the singular values at a rank that rounding does not explain
ROUNDED = 1e-6  # entries below that share of the largest are ignored
NOISE = 4.0  # standard deviations of noise that an entry must exceed
CLEAN = 1e-2  # noise, as a share of the last layer's RMS, from which rows deviate by chance
SURE = 3.0  # correlation, as Fisher's z in standard deviations, from which the rows decide alone
LEAST = 0.6  # minimum of the correlation itself
AGAINST = 0.3  # correlation from which the rows contradict the count
FEWEST = 6  # number of classes; with fewer, the rows decide nothing


def direct(
    seen: Observation, reading: UpdateReading, asked: Direction | None, kind: FileKind | None
) -> tuple[UpdateReading, str]:
    """Return the reading with the sign of a gradient, and the reason if that sign is unknown, without a full stop.

    Args:
        seen: The observation that belongs to the reading.
        reading: The result of `interpret`.
        asked: The direction given by the user, if any.
        kind: The kind given by the user, if any.

    Raises:
        AuditError: The given direction does not apply to the kind of the file, or contradicts its step counters.
    """
    if asked is not None:
        return _as_asked(seen, reading, asked), ""
    if reading.direction is not None or not seen.update.tensors:
        return reading, ""
    try:
        found, why = told(seen)
    except AttackFailed:
        return reading, ""  # no layer reveals labels; the label inferences report that
    if found is Direction.AFTER_MINUS_BEFORE:
        return reading.turned(seen.model, f"{why[0].upper()}{why[1:]}"), ""
    if found is None and kind is not FileKind.GRADIENT:
        cure = "give --sign before-minus-after or --sign after-minus-before"
        cure += ", or --kind gradient" if kind is None and reading.holds is FileKind.GRADIENT else ""
        return (
            reading,
            f"the sign of the difference, before minus after or after minus before, is unknown ({why}); {cure}",
        )
    return reading, ""


def _as_asked(seen: Observation, reading: UpdateReading, asked: Direction) -> UpdateReading:
    if reading.holds is FileKind.WEIGHTS:
        raise AuditError("--sign does not apply to whole weights, which are not a difference. Omit it.")
    if reading.direction not in (None, asked):
        raise AuditError(f"--sign contradicts the step counters in the file, which show {reading.direction}. Omit it.")
    if reading.direction is None and asked is Direction.AFTER_MINUS_BEFORE:
        return reading.turned(seen.model, "--sign was given")
    return reading


def told(seen: Observation) -> tuple[Direction | None, str]:
    """Return the direction of a weight difference, or `None`, and the reason as a clause.

    Raises:
        AttackFailed: The update has no layer whose gradient contains p - y.
    """
    head = signed_head(seen)
    sums = _sums(seen, head)
    if sums is None:
        return None, "the last layer was sent without a bias, and its features can be negative"
    own, found = dict(seen.model.named_parameters()), find_head(seen)
    sizes = [float(own[name].detach().abs().max()) for name in (found.weight, found.bias) if name]
    grain = torch.finfo(torch.float32).eps * max(sizes)
    return judge(sums, head.rows if head.exact else None, seen.batch_size, grain)


def judge(sums: Tensor, rows: Tensor | None, size: int | None, grain: float = 0.0) -> tuple[Direction | None, str]:
    """Return the direction of the last layer's values, or `None`, and the reason as a clause.

    Args:
        sums: `[K]` double: the bias gradient up to its sign, or values with the same signs.
        rows: `[K, m]` double: the weight gradient up to the same sign, or `None`.
        size: Number of examples in the batch, if known.
        grain: Rounding error of one entry.
    """
    classes, noise = len(sums), _noise(sums, rows)
    least = max(ROUNDED * float(sums.abs().max()), 2 * grain, NOISE * noise)
    negative, positive = int((sums < -least).sum()), int((sums > least).sum())
    most = _most(rows, size)
    clean = rows is not None and noise < CLEAN * float(rows.square().mean().sqrt())
    strayed = stray(sums, rows) if rows is not None and clean else 0.0
    if most is not None and (negative > most) != (positive > most):
        found = 1.0 if positive > most else -1.0
        if strayed * found > -AGAINST:
            holds = f"the batch holds at most {most} {'class' if most == 1 else 'classes'}"
            return _direction(found), f"{negative} entries of the last layer are negative, but {holds}"
        return None, "the signs in the last layer and its rows contradict each other"
    sure = math.tanh(SURE / (classes - 3) ** 0.5) if classes >= FEWEST else math.inf
    if abs(strayed) > max(LEAST, sure):
        return _direction(strayed), "the rows of the last layer that deviate most belong to its positive entries"
    return None, f"{negative} entries of the last layer are negative and {positive} positive, possible with either sign"


def stray(sums: Tensor, rows: Tensor) -> float:
    """Return the correlation, in [-1, 1], of -`sums` with the deviation of each row from the component common to all.

    The common component is `sums` times one direction. The residual sums to zero and is perpendicular to `sums`, which
    reduces it more for rows with large entries; dividing by the leverage of each row corrects that. One row may be an
    outlier, for example of a class of which the model is certain for every example. Therefore the correlation is also
    computed without the row that contributes most to it, and the weaker of the two is returned. It is 0 if all rows
    agree.

    Args:
        sums: `[K]`, not zero.
        rows: `[K, m]`.
    """
    length = sums.square().sum()
    rest = rows - torch.outer(sums, sums @ rows / length)
    if length == 0 or rest.square().sum(1).max() <= 1e-9 * rows.square().sum(1).max():
        return 0.0
    leverage = 1 - 1 / len(sums) - sums.square() / length
    far = rest.square().sum(1) / leverage.clamp_min(1e-3)
    whole, parts = _correlation(-sums, far, leverage)
    without = leverage.clone()
    without[int((parts * whole).argmax())] = 0
    fewer, _ = _correlation(-sums, far, without)
    return 0.0 if whole * fewer <= 0 else min(whole, fewer, key=abs)


def _correlation(x: Tensor, y: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Return the weighted correlation and the contribution of every entry."""
    x, y = (value - weights @ value / weights.sum() for value in (x, y))
    scale = ((weights @ x.square()) * (weights @ y.square())).sqrt()
    parts = weights * x * y
    return (float(parts.sum() / scale) if scale > 0 else 0.0), parts


def _sums(seen: Observation, head: Head) -> Tensor | None:
    """Return the bias gradient, or the row sums of the weight gradient: its signs, if features are positive."""
    if head.bias is not None:
        return head.bias
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            require_positive_masses(seen)
    except AttackFailed:
        return None
    return head.sums


def _noise(sums: Tensor, rows: Tensor | None) -> float:
    """Return the standard deviation of noise on one entry, estimated from the sums over the classes."""
    joint = sums.unsqueeze(1) if rows is None else torch.cat([sums.unsqueeze(1), rows], 1)
    return float(joint.sum(0).square().mean().sqrt()) / len(sums) ** 0.5


def _most(rows: Tensor | None, size: int | None) -> int | None:
    """Return the largest possible number of classes in the batch: its size, or the rank of the rows if not full."""
    if rows is None or not rows.any(1).all():
        return size
    singular = torch.linalg.svdvals(rows)
    rank = int((singular > singular[0] * max(rows.shape) * torch.finfo(torch.float32).eps).sum())
    clear = rank < min(len(rows) - 1, len(singular)) and singular[rank - 1] > CLEAR * singular[rank]
    return min([bound for bound in (size, rank if clear else None) if bound is not None], default=None)


def _direction(found: float) -> Direction:
    return Direction.BEFORE_MINUS_AFTER if found > 0 else Direction.AFTER_MINUS_BEFORE
