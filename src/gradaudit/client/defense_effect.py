"""What each defense does to an update, from its tensors before and after: the client trains once for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from ..protocol.defenses import Defense, describe
from ..values.protection import DefenseEffect
from ..values.types import Update
from .calibrated_noise import ALL, CLIENT, Accounted, noise_deviation

Note = Callable[[int, Defense, Update, Update], Any]
"""Called with the position of a defense, the defense, and the update before and after it."""
BEFORE_UPDATE = "It acts before there is an update, so that its effect on the update is not known."


@dataclass(frozen=True)
class Sums:
    """The sums from which the distance and the direction of two updates follow; sums of several pairs can be added.

    Args:
        inner: Inner product.
        before: Squared L2 norm before.
        after: Squared L2 norm after.
        apart: Squared L2 norm of the difference.
        changed: Number of entries that differ.
        entries: Number of entries.
    """

    inner: float = 0.0
    before: float = 0.0
    after: float = 0.0
    apart: float = 0.0
    changed: int = 0
    entries: int = 0

    @classmethod
    def of(cls, before: Iterable[Tensor], after: Iterable[Tensor]) -> Sums:
        """Return the sums over pairs of tensors of the same shapes, in double precision."""
        found = cls()
        for old, new in zip(before, after, strict=True):
            a, b = old.detach().flatten().double(), new.detach().flatten().double()
            inner, first, last, apart = torch.stack([a @ b, a @ a, b @ b, (b - a).square().sum()]).tolist()
            found += cls(inner, first, last, apart, int((a != b).sum()), a.numel())
        return found

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.inner + other.inner,
            self.before + other.before,
            self.after + other.after,
            self.apart + other.apart,
            self.changed + other.changed,
            self.entries + other.entries,
        )

    @property
    def cosine(self) -> float | None:
        """Cosine, or `None` if one side is zero."""
        product = math.sqrt(self.before) * math.sqrt(self.after)
        return self.inner / product if product else None

    @property
    def norm_kept(self) -> float | None:
        """Norm after, divided by that before, or `None` if that is zero."""
        return math.sqrt(self.after / self.before) if self.before else None

    @property
    def ratio(self) -> float | None:
        """Norm of the difference, divided by the norm before, or `None` if that is zero."""
        return math.sqrt(self.apart / self.before) if self.before else None

    @property
    def share(self) -> float:
        """Share of the entries that differ."""
        return self.changed / self.entries if self.entries else 0.0


@dataclass(frozen=True)
class NoisyBias:
    """A vector of an update before noise of a known size is added.

    Args:
        signal: `[K]`, on the CPU.
        variance: Variance of the noise on each entry.
    """

    signal: Tensor
    variance: float


def unnoted(place: int, defense: Defense, before: Update, after: Update) -> None:
    """Note nothing."""


class EffectLog:
    """Collects what the defenses of one client do; `note` is called after each of them.

    Several clients under secure aggregation note their updates one after the other. Their updates count as one.
    """

    def __init__(self) -> None:
        self._each: dict[int, tuple[Sums, set[str], bool]] = {}
        self._whole, self._clients = Sums(), 0
        self._chain: tuple[Update, Update] | None = None  # of one client: before its first defense, and so far
        self.biases: dict[str, NoisyBias] = {}

    def note(self, place: int, defense: Defense, before: Update, after: Update) -> None:
        """Write down what the defense at a position did to one update."""
        if self._chain is None or before is not self._chain[1]:
            self.close()
            self._chain, self._clients = (before, after), self._clients + 1
        self._chain = self._chain[0], after
        sums, touched, idle = self._each.get(place, (Sums(), set(), True))
        found, same = Sums.of(before.values, after.values), all(map(torch.equal, before.values, after.values))
        self._each[place] = (sums + found, touched | _touched(before, after), idle and same)
        self._note_biases(defense, before)

    def effects(self, defenses: Sequence[Defense]) -> tuple[DefenseEffect, ...]:
        """Return one effect for each defense, and if there are several, that of all of them together."""
        self.close()
        found = [
            self._with_account(_effect(describe(defense), *self._each[place]), defense, place)
            if place in self._each
            else DefenseEffect(describe(defense), why_not=BEFORE_UPDATE)
            for place, defense in enumerate(defenses)
        ]
        if len(self._each) > 1:
            touched = {name for _, names, _ in self._each.values() for name in names}
            found.append(_effect(ALL, self._whole, touched, all(one[2] for one in self._each.values())))
        return tuple(found)

    def _with_account(self, effect: DefenseEffect, defense: Defense, place: int) -> DefenseEffect:
        """Return an effect with the epsilon of the defense's own account, if it keeps one."""
        if not isinstance(defense, Accounted):
            return effect
        entries = self._each[place][0].entries // self._clients
        return replace(effect, epsilon=float(f"{defense.spent(entries):.4g}"), unit=CLIENT)

    def close(self) -> None:
        """Add the whole way of the last client's update to that of all of them, and hold no update any more."""
        if self._chain is not None:
            self._whole += Sums.of(*(update.values for update in self._chain))
        self._chain = None

    def _note_biases(self, defense: Defense, before: Update) -> None:
        """Keep the vectors of the update before its first noise, and the variance of all noise on them."""
        for name, tensor in before.tensors.items():
            deviation = noise_deviation(defense, tensor) if tensor.ndim == 1 else None
            if deviation:
                known = self.biases.get(name, NoisyBias(tensor.detach().double().cpu(), 0.0))
                self.biases[name] = NoisyBias(known.signal, known.variance + deviation * deviation)
        if self._clients > 1:  # the sum of several clients hides whose bias it is
            self.biases = {}


def _touched(before: Update, after: Update) -> set[str]:
    pairs = zip_longest((before.buffers or {}).items(), (after.buffers or {}).values())
    return {old[0] for old, new in pairs if old is not None and (new is None or not torch.equal(old[1], new))}


def _effect(name: str, sums: Sums, touched: set[str], idle: bool) -> DefenseEffect:
    cosine, norm, ratio = (_rounded(value) for value in (sums.cosine, sums.norm_kept, sums.ratio))
    return DefenseEffect(name, cosine, norm, _rounded(sums.share), ratio, len(touched), no_op=idle and not touched)


def _rounded(value: float | None) -> float | None:
    """Return a value with four digits, which do not depend on the order in which a machine sums."""
    return None if value is None else float(f"{value:.4g}")
