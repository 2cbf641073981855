"""Windows of a sentence: the rows that they share, and the sentences of a given length that contain all of them."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

Window = tuple[int, ...]
"""Consecutive rows of a sentence, as numbers of distinct rows."""

TRIES = 20_000  # partial sentences that are looked at


def numbered(rows: Tensor, same: float) -> tuple[Tensor, list[int]]:
    """Return the distinct rows, and the number of each row among them.

    Args:
        rows: `[n, d]`, the most reliable first.
        same: Distance up to which rows are equal, as a share of the longest row.
    """
    near = same * float(rows.norm(dim=1).max())
    equal = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") <= near
    distinct: list[int] = []
    numbers = [-1] * len(rows)
    for place in range(len(rows)):
        if numbers[place] < 0:
            for member in equal[place].nonzero().flatten().tolist():
                if numbers[member] < 0:
                    numbers[member] = len(distinct)
            distinct.append(place)
    return rows[distinct], numbers


def sentences(windows: set[Window], length: int, most: int) -> tuple[list[Window], bool]:
    """Return sentences of `length` rows that contain every window, where neighbours overlap, and whether they are all.

    Windows that overlap most are joined first. The search ends after `TRIES` partial sentences or `most` whole ones.
    """
    kept = _maximal(windows)
    stack = [(start, frozenset(kept) - {start}) for start in sorted(kept)]
    found: list[Window] = []
    tried: set[Window] = set()
    while stack and len(tried) < TRIES and len(found) < most:
        sentence, left = stack.pop()
        if sentence in tried:
            continue
        tried.add(sentence)
        left = frozenset(one for one in left if not contains(sentence, one))
        if not left and len(sentence) == length:
            found.append(sentence)
        missing = Counter(map(len, left))  # every further row ends at most one window of each span
        if left and len(sentence) + max(missing.values()) <= length:
            stack += [(longer, left) for longer in _longer(sentence, left, length)]
    return found, not stack


def joined(windows: set[Window]) -> list[Window]:
    """Return the longest runs of rows that overlaps of two rows or more determine, the longest first."""
    runs = _maximal(windows)
    while True:
        pairs = [
            (size, left, right)
            for left in runs
            for right in runs
            if left != right and (size := _overlap(left, right)) >= 2
        ]
        if not pairs:
            return sorted(runs, key=len, reverse=True)
        size, left, right = max(pairs)
        runs = _maximal((runs - {left, right}) | {left + right[size:]})


def contains(sentence: Window, window: Window) -> bool:
    """Return whether a window is part of a sentence."""
    size = len(window)
    return any(sentence[at : at + size] == window for at in range(len(sentence) - size + 1))


def _maximal(windows: set[Window]) -> set[Window]:
    return {one for one in windows if not any(one != other and contains(other, one) for other in windows)}


def _longer(sentence: Window, left: frozenset[Window], length: int) -> list[Window]:
    """Return the sentence with one more window at its end, the one with the largest overlap last."""
    found = {}
    for window in left:
        for size in range(1, min(len(window), len(sentence) + 1)):
            longer = sentence + window[size:]
            if sentence[-size:] == window[:size] and len(longer) <= length:
                found[longer] = max(size, found.get(longer, 0))
    return sorted(found, key=lambda longer: (found[longer], longer))


def _overlap(left: Window, right: Window) -> int:
    """Return the largest number of rows at the end of one run that begin the other."""
    most = min(len(left), len(right)) - 1
    return next((size for size in range(most, 0, -1) if left[-size:] == right[:size]), 0)
