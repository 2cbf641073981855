"""What a defense did to one update: how much of it is left, what it did not touch, and what it spent.

These facts need no framework: they compare the update before and after the defense.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..client.defense_effect import Sums
from ..values.errors import AuditError
from ..values.tensor_files import listed
from .statistics import COUNTER, MEAN, VARIANCE

BUFFERS = (MEAN, VARIANCE, COUNTER)
SPENT_MOST = 10.0  # epsilon above which differential privacy promises next to nothing: e^10 is 22026
ALIGNED = 0.9  # cosine above which an attack with a cosine objective sees nearly the same update


@dataclass(frozen=True)
class DefenseFacts:
    """What one defense did to one update.

    Args:
        defense: Name and settings of the defense.
        cosine: Cosine between the parameters before and after, or `None` if one of them is zero.
        norm_kept: L2 norm of the parameters after, divided by that before, or `None` if that is zero.
        changed: Share of the entries of the parameters that changed; entries of removed tensors count as changed.
        removed: Names of the tensors that no longer leave.
        buffers: Number of buffers in the update.
        buffers_touched: Names of the buffers that changed.
        counters: Names of the step counters that leave exactly as they were, and thus reveal the local steps.
        epsilon: Epsilon spent in this round, or `None` if it is undefined.
        epsilon_overall: Epsilon spent in all rounds, by basic composition or the defense's own account, or `None`.
        rounds: Number of rounds.
        no_op: Whether nothing changed: neither a value nor the names.
        why: Why the defense is a no-op, if that is known, as a sentence.
    """

    defense: str
    cosine: float | None
    norm_kept: float | None
    changed: float
    removed: tuple[str, ...]
    buffers: int
    buffers_touched: tuple[str, ...]
    counters: tuple[str, ...]
    epsilon: float | None
    epsilon_overall: float | None
    rounds: int
    no_op: bool
    why: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """One row of a table, as `COLUMNS` names it."""
        return (
            self.defense,
            _number(self.cosine),
            _number(self.norm_kept),
            f"{100 * self.changed:.1f} %",
            str(len(self.removed)),
            f"{len(self.buffers_touched)} of {self.buffers}",
            _number(self.epsilon),
            _number(self.epsilon_overall),
            "no-op" if self.no_op else "",
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """The facts as plain sentences, the most important first."""
        if self.no_op:
            nothing = f"{self.defense} changed nothing: what left the client is the update as trained."
            return (f"{nothing} {self.why}".strip(),)
        return (*self._about_values(), *self._about_buffers(), *self._about_privacy())

    def _about_values(self) -> list[str]:
        kept = "has no direction in common with" if self.cosine is None else f"has cosine {self.cosine:.3f} with"
        size = "" if self.norm_kept is None else f" and {self.norm_kept:.3g} times its norm"
        share = f"{100 * self.changed:.1f} % of the entries"
        found = [f"{self.defense} changed {share}; the update that left {kept} the one before it{size}."]
        if self.cosine is not None and self.cosine > ALIGNED:
            found.append("An attack that compares directions sees nearly the same update.")
        if self.removed:
            many = (
                "1 tensor no longer leaves"
                if len(self.removed) == 1
                else f"{len(self.removed)} tensors no longer leave"
            )
            found.append(f"{many} the client: {listed(self.removed)}.")
        return found

    def _about_buffers(self) -> list[str]:
        found, touched = [], len(self.buffers_touched)
        if touched:
            found.append(f"It changed {touched} of {self.buffers} buffers, such as BatchNorm's statistics.")
        elif self.buffers:
            found.append(f"It changed none of the {self.buffers} buffers, so BatchNorm's statistics leave as they are.")
        if self.counters:
            found.append("The number of local steps still leaves exactly, in BatchNorm's step counters.")
        return found

    def _about_privacy(self) -> list[str]:
        if self.epsilon is None:
            return ["It states no epsilon, so it gives no guarantee of differential privacy."]
        overall = self.epsilon if self.epsilon_overall is None else self.epsilon_overall
        rounds = "1 round" if self.rounds == 1 else f"{self.rounds} rounds"
        found = [f"It spent epsilon {_number(self.epsilon)} in this round and {_number(overall)} in {rounds}."]
        if overall > SPENT_MOST:
            found.append(f"An epsilon above {SPENT_MOST:g} promises next to nothing.")
        return found


COLUMNS = (
    "defense",
    "cosine kept",
    "norm kept",
    "entries changed",
    "tensors removed",
    "buffers touched",
    "epsilon this round",
    "epsilon overall",
    "",
)
"""Headings of `DefenseFacts.cells`."""


def defense_facts(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    defense: str,
    buffers: Collection[str] | None = None,
    epsilon: float | None = None,
    epsilon_overall: float | None = None,
    rounds: int = 1,
    why: str = "",
) -> DefenseFacts:
    """Compare an update before and after a defense.

    Args:
        before: Name -> array or tensor of the update as trained: a difference or a gradient, not whole weights.
        after: The same after the defense; removed tensors are missing.
        defense: Name and settings of the defense.
        buffers: Names of the buffers; by default BatchNorm's, by their names, and everything that holds integers.
        epsilon: Epsilon that the defense states for this round, if it does.
        epsilon_overall: Epsilon of all rounds by the defense's own account; by default basic composition, the number
            of rounds times epsilon, which is an upper bound.
        rounds: Number of rounds.
        why: Why the defense does nothing, if it does (`no_op_reason`).

    Raises:
        AuditError: `before` is empty, `after` has a tensor that `before` has not, or a shape differs.
    """
    old, new = ({name: _array(value) for name, value in side.items()} for side in (before, after))
    _require_alike(old, new)
    is_buffer = _buffers(before, buffers)
    same = {name for name, value in new.items() if np.array_equal(value, old[name], equal_nan=True)}
    mine = [name for name in old if name not in is_buffer]
    kept, gone = [name for name in mine if name in new], [old[name] for name in mine if name not in new]
    sums = Sums.of(*([torch.from_numpy(side[name]) for name in kept] for side in (old, new)))
    lost, size = float(sum(np.sum(value**2) for value in gone)), sum(value.size for value in gone)
    sums += Sums(before=lost, apart=lost, changed=size, entries=size)
    return DefenseFacts(
        defense,
        sums.cosine,
        sums.norm_kept,
        sums.share,
        tuple(name for name in old if name not in new),
        len(is_buffer),
        tuple(name for name in old if name in is_buffer and name not in same),
        tuple(name for name in old if name.endswith(COUNTER) and name in same and bool(np.any(old[name]))),
        epsilon,
        epsilon_overall if epsilon_overall is not None or epsilon is None else rounds * epsilon,
        rounds,
        no_op=same == {*old},
        why=why if same == {*old} else "",
    )


def no_op_reason(defense: str, **settings: Any) -> str:
    """Return why a shipped filter with these settings changes nothing, as a sentence, or an empty string.

    Args:
        defense: Name of the class in its framework, such as `PercentilePrivacy`.
        settings: Its arguments.
    """
    if defense == "PercentilePrivacy" and settings.get("gamma", 0.01) <= 0:
        return "With gamma at or below 0, NVFlare returns the update unchanged and only its debug log says so."
    if defense == "PercentilePrivacy" and not 0 <= settings.get("percentile", 10) <= 100:
        return "With a percentile outside 0 to 100, NVFlare returns the update unchanged; only its debug log says so."
    if defense == "ExcludeVars" and isinstance(settings.get("exclude_vars"), list):
        return "A list must hold whole names of tensors; none of them was a name in this update."
    if defense == "ExcludeVars":
        return "The pattern matches no name in this update, or none was given."
    return ""


def gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """Return the standard deviation of the noise of Flower's `LocalDpMod`, sensitivity · √(2 ln(1.25/δ)) / ε.

    This is the classical Gaussian mechanism for one round; its proof needs ε at most 1.
    """
    return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def _array(value: Any) -> np.ndarray:
    """Return a numpy array or a tensor as doubles."""
    return np.array(value.detach().cpu().double().numpy() if hasattr(value, "detach") else value, dtype=np.float64)


def _buffers(before: Mapping[str, Any], given: Collection[str] | None) -> set[str]:
    if given is not None:
        return {name for name in before if name in given}
    return {name for name, value in before.items() if name.endswith(BUFFERS) or "int" in str(value.dtype)}


def _require_alike(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> None:
    if not old:
        raise AuditError("before: holds no tensors, so that there is nothing to compare.")
    for name, value in new.items():
        if name not in old:
            raise AuditError(f"after: holds {name}, which the update before the defense does not have.")
        if value.shape != old[name].shape:
            raise AuditError(f"after: {name} is {list(value.shape)}, but {list(old[name].shape)} before the defense.")


def _number(value: float | None) -> str:
    """Return a number with three significant digits, or `n/a`."""
    if value is None:
        return "n/a"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
