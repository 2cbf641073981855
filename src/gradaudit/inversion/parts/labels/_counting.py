"""From scores per class to labels: integer counts that sum to the batch size, with confidence and notes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ..label_values import Labels


def onto_simplex(raw: Tensor, total: float) -> Tensor:
    """Return the nearest point to `raw` `[..., K]` with no negative entry and sum `total`, 0 or more.

    Duchi et al., "Efficient projections onto the l1-ball", ICML 2008, algorithm 1: subtract one number, clip at zero.
    """
    ordered = raw.sort(dim=-1, descending=True).values
    ranks = torch.arange(1, raw.shape[-1] + 1, dtype=raw.dtype)
    shift = (ordered.cumsum(-1) - total) / ranks
    held = (ordered > shift).sum(-1, keepdim=True).clamp_min(1)
    return (raw - shift.gather(-1, held - 1)).clamp_min(0)


def round_to_total(raw: Tensor, total: int, least: int = 0) -> Tensor:
    """Return integers of at least `least` near `raw` that sum to `total`, by largest remainders.

    Args:
        raw: `[..., K]`, finite; negative entries and a wrong sum are corrected by moving to the nearest valid point.
        total: Required sum, at least K · `least`.
        least: Smallest value of an entry.

    Returns:
        `[..., K]` int64.
    """
    spare = total - least * raw.shape[-1]
    share = onto_simplex(raw - least, spare)
    whole = share.floor()
    missing = spare - whole.sum(-1, keepdim=True)
    # Projections carry rounding errors of 1e-15; without this, 2.9999999 against 1.5 would take the wrong unit.
    order = (share - whole).round(decimals=9).argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (whole + (order < missing)).long() + least


def wholeness(raw: Tensor, counts: Tensor) -> float:
    """Return 1 - 2 max |raw - counts|, clipped to [0, 1], as a measure of confidence.

    It is 1 if the solution was already integer, and 0 if a count may be off by one. (It is not a mean: if everything is
    rounded by chance, a mean over many classes and examples still looks small.)
    """
    return max(0.0, 1 - 2 * float((raw - counts).abs().max()))


def separation(scores: Tensor, chosen: Tensor) -> float:
    """Return the gap between chosen (low) and other scores, as a share of their whole range, in [0, 1].

    Args:
        scores: `[K]`.
        chosen: `[K]` booleans.
    """
    span = float(scores.max() - scores.min())
    if not chosen.any() or span == 0:
        return 0.0
    bound = 0.0 if chosen.all() else float(scores[~chosen].min())
    return min(1.0, max(0.0, (bound - float(scores[chosen].max())) / span))


def counted(seen: Observation, counts: Tensor, raw: Tensor, notes: Sequence[str] = ()) -> Labels:
    """Return labels from integer `counts` `[K]`, ascending, with `wholeness` of `raw` `[K]` as confidence."""
    values = torch.arange(len(counts)).repeat_interleave(counts)
    device = seen.device
    return Labels(values.to(device), counts=counts.to(device), confidence=wholeness(raw, counts), notes=tuple(notes))


def present(seen: Observation, scores: Tensor, chosen: Tensor) -> Labels:
    """Return labels from a set of classes, each once, with `separation` as confidence.

    Args:
        seen: The observation; its batch size may be unknown.
        scores: `[K]`, low if a class is present.
        chosen: `[K]` booleans; if they are more than the batch size, the classes with the lowest scores stay.
    """
    notes = []
    size = seen.batch_size
    if size is not None and int(chosen.sum()) > size:
        notes.append(f"{int(chosen.sum())} classes look present in a batch of {size}; the {size} clearest were kept.")
        lowest = torch.where(chosen, scores, torch.inf).argsort()[:size]
        chosen = torch.zeros_like(chosen).index_fill(0, lowest, True)
    values = chosen.nonzero().view(-1)
    counts = chosen.long().to(seen.device) if len(values) == size else None
    if counts is None:
        notes.append(_incomplete(len(values), size))
    return Labels(values.to(seen.device), counts=counts, confidence=separation(scores, chosen), notes=tuple(notes))


def _incomplete(found: int, size: int | None) -> str:
    classes = f"{found} class{'es' if found != 1 else ''} found"
    if size is None:
        return f"{classes}; how often each occurs is unknown."
    return f"{classes} for {size} examples; which of them repeat or are missing is unknown."
