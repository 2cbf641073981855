"""Which way a difference was taken, before minus after or after minus before, told from the last layer's values.

With the sign of a gradient, ∂L/∂b_k = mean_i (p_ik - 1[y_i = k]) is negative only for classes of the batch, so that no
more entries are negative than there are classes in it; and the rows ∂L/∂W_k of classes of the batch stray farther from
what all rows have in common, for they hold the features of their own examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..client.observation import Observation
from ..inversion.parts.labels._head import Head, find_head, signed_head
from ..inversion.parts.labels._probe import require_positive_masses
from ..values.errors import AttackFailed, AuditError
from .kinds import Direction, FileKind, UpdateReading

CLEAR = 30.0  # drop of the singular values at a rank that is no matter of rounding
ROUNDED = 1e-6  # entries below that share of the largest say nothing
NOISE = 4.0  # standard deviations of noise that an entry must exceed
CLEAN = 1e-2  # noise, as a share of the last layer's rms, from which its rows stray by chance
SURE = 3.0  # correlation, as Fisher's z in its standard deviations, from which the rows decide alone
LEAST = 0.6  # and the correlation itself
AGAINST = 0.3  # correlation from which the rows contradict the count
FEWEST = 6  # classes: of fewer the rows decide nothing


def direct(
    seen: Observation, reading: UpdateReading, asked: Direction | None, kind: FileKind | None
) -> tuple[UpdateReading, str]:
    """The reading with the sign of a gradient, and why that sign is not known, without a full stop, where it is not.

    Args:
        seen: What the reading looks like beside the model.
        reading: As `interpret` gives it.
        asked: What the user says of a difference.
        kind: What the user says that the file holds.

    Raises:
        AuditError: The user's word makes no sense for what the file holds, or contradicts its step counters.
    """
    if asked is not None:
        return _as_asked(seen, reading, asked), ""
    if reading.direction is not None or not seen.update.tensors:
        return reading, ""
    try:
        found, why = told(seen)
    except AttackFailed:
        return reading, ""  # no layer gives labels away, which is said where they are looked for
    if found is Direction.AFTER_MINUS_BEFORE:
        return reading.turned(seen.model, f"{why[0].upper()}{why[1:]}"), ""
    if found is None and kind is not FileKind.GRADIENT:
        cure = "say --sign before-minus-after or --sign after-minus-before"
        cure += ", or --kind gradient" if kind is None and reading.holds is FileKind.GRADIENT else ""
        return reading, f"whether it is before minus after or after minus before cannot be told ({why}); {cure}"
    return reading, ""


def _as_asked(seen: Observation, reading: UpdateReading, asked: Direction) -> UpdateReading:
    if reading.holds is FileKind.WEIGHTS:
        raise AuditError("--sign: whole weights are no difference; leave it out.")
    if reading.direction not in (None, asked):
        raise AuditError(f"--sign: the step counters in the file say {reading.direction}; leave it out.")
    if reading.direction is None and asked is Direction.AFTER_MINUS_BEFORE:
        return reading.turned(seen.model, "As --sign says it")
    return reading


def told(seen: Observation) -> tuple[Direction | None, str]:
    """Which way the tensors of an update were taken, or `None`; and why, as a clause.

    Raises:
        AttackFailed: The update holds no layer whose gradient holds p - y.
    """
    head = signed_head(seen)
    sums = _sums(seen, head)
    if sums is None:
        return None, "the last layer travels without a bias, and its features can be negative"
    own, found = dict(seen.model.named_parameters()), find_head(seen)
    sizes = [float(own[name].detach().abs().max()) for name in (found.weight, found.bias) if name]
    grain = torch.finfo(torch.float32).eps * max(sizes)
    return judge(sums, head.rows if head.exact else None, seen.batch_size, grain)


def judge(sums: Tensor, rows: Tensor | None, size: int | None, grain: float = 0.0) -> tuple[Direction | None, str]:
    """Which way the last layer's values were taken, or `None`; and why, as a clause.

    Args:
        sums: `[K]` double, of a sign that is to be told: the bias gradient, or what has its signs.
        rows: `[K, m]` double, the weight's gradient of the same sign, or `None`.
        size: Examples in the batch, where known.
        grain: Rounding of one entry.
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
            return _direction(found), f"{negative} entries of the last layer are negative where {holds}"
        return None, "the signs in the last layer and its rows contradict each other"
    sure = math.tanh(SURE / (classes - 3) ** 0.5) if classes >= FEWEST else math.inf
    if abs(strayed) > max(LEAST, sure):
        return _direction(strayed), "the rows of the last layer that stray most belong to its positive entries"
    return None, f"{negative} entries of the last layer are negative and {positive} positive, as either way may have it"


def stray(sums: Tensor, rows: Tensor) -> float:
    """In [-1, 1]: how far each row lies from what all have in common, correlated with -`sums`; 0 where all agree.

    Rows are compared with `sums` times their common direction. What is left sums to zero and is perpendicular to
    `sums`, which takes more from rows of large entries; the leverage of each row undoes that. One row may be an
    outlier, as of a class of which the model is sure for every example: the correlation is the one without the row
    that speaks most for it, where that is the weaker one.

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
    """Weighted correlation, and every entry's part in it."""
    x, y = (value - weights @ value / weights.sum() for value in (x, y))
    scale = ((weights @ x.square()) * (weights @ y.square())).sqrt()
    parts = weights * x * y
    return (float(parts.sum() / scale) if scale > 0 else 0.0), parts


def _sums(seen: Observation, head: Head) -> Tensor | None:
    """The bias gradient, or the sums of the weight's rows, which have its signs where features are positive."""
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
    """Standard deviation of noise on one entry, by what the sums over the classes are instead of zero."""
    joint = sums.unsqueeze(1) if rows is None else torch.cat([sums.unsqueeze(1), rows], 1)
    return float(joint.sum(0).square().mean().sqrt()) / len(sums) ** 0.5


def _most(rows: Tensor | None, size: int | None) -> int | None:
    """Classes that the batch holds at most: its examples, or the rank of the rows where that is clearly not full."""
    if rows is None or not rows.any(1).all():
        return size
    singular = torch.linalg.svdvals(rows)
    rank = int((singular > singular[0] * max(rows.shape) * torch.finfo(torch.float32).eps).sum())
    clear = rank < min(len(rows) - 1, len(singular)) and singular[rank - 1] > CLEAR * singular[rank]
    return min([bound for bound in (size, rank if clear else None) if bound is not None], default=None)


def _direction(found: float) -> Direction:
    return Direction.BEFORE_MINUS_AFTER if found > 0 else Direction.AFTER_MINUS_BEFORE
