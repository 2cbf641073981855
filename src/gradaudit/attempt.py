"""One attack on what it sees: whatever the attack's code does, a reconstruction comes of it, or one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor

from .errors import AttackFailed, AuditError, guarded
from .inversion.attack import Attack, Watch
from .inversion.match import GradientMatching
from .observation import Observation
from .types import Curve, Reconstruction

Attempt = Reconstruction | AttackFailed
"""What an attack returned, or why it could not run."""

_TRACE, _NOTES = TypeAdapter(tuple[Curve, ...]), TypeAdapter(tuple[str, ...])


def attempt(
    attack: Attack,
    name: str,
    seen: Sequence[Observation],
    seeds: Sequence[int],
    watch: Watch | None = None,
    keep: Path | None = None,
) -> list[Attempt]:
    """Run an attack on several updates of one client, in one pass where that is possible.

    Args:
        attack: Of this package or of the user's own.
        name: What to call it in an error.
        seen: What the adversary sees of each update.
        seeds: One for each.
        watch: Told of the progress.
        keep: Where a long attack is kept while it runs; see `GradientMatching`.

    Returns:
        For each update the reconstruction, or why the attack could not run on it.

    Raises:
        AuditError: The attack's code raised anything else, or returned no valid `Reconstruction`.
    """
    open_ = [i for i, one in enumerate(seen) if not one.update.emptiness]
    with guarded(name):
        found = _run(attack, [seen[i] for i in open_], [seeds[i] for i in open_], watch, keep)
    checked = (guess if isinstance(guess, AttackFailed) else _valid(guess, name) for guess in found)
    made = dict(zip(open_, checked, strict=True))
    return [made.get(i) or AttackFailed(f"{one.update.emptiness}.") for i, one in enumerate(seen)]


def _run(
    attack: Attack, seen: Sequence[Observation], seeds: Sequence[int], watch: Watch | None, keep: Path | None
) -> Sequence[Attempt]:
    if isinstance(attack, GradientMatching) and len(seen) > 1:
        try:
            return attack.many(seen, seeds=seeds, watch=watch, keep=keep)
        except AttackFailed as failure:
            return [failure] * len(seen)
    options = {"keep": keep} if isinstance(attack, GradientMatching) else {}
    found: list[Attempt] = []
    for one, seed in zip(seen, seeds, strict=True):
        try:
            found.append(attack(one, seed=seed, watch=watch, **options))
        except AttackFailed as failure:
            found.append(failure)
    return found


def _valid(guess: Reconstruction, name: str) -> Reconstruction:
    """`guess`, its plain fields as plain values; raises `AuditError` where it is none."""
    if not isinstance(guess, Reconstruction):
        raise AuditError(f"{name}: returned a value of type {type(guess).__name__}, not a Reconstruction.")
    for field, value in (("inputs", guess.inputs), ("labels", guess.labels), ("confidence", guess.confidence)):
        if not isinstance(value, Tensor) and (value is not None or field == "inputs"):
            raise AuditError(f"{name}: {field} must be a tensor. Found a value of type {type(value).__name__}.")
        if value is not None and (value.is_complex() or value.layout is not torch.strided or value.is_meta):
            raise AuditError(f"{name}: {field} must be a dense tensor of real numbers. Found {value.dtype}.")
    labels = guess.labels
    if labels is not None and (labels.is_floating_point() or labels.shape != guess.inputs.shape[:1]):
        found = f"{labels.dtype} {list(labels.shape)}"
        raise AuditError(f"{name}: labels must be [{len(guess.inputs)}] integers. Found {found}.")
    try:
        return replace(
            guess,
            objective=float(guess.objective),
            verified=bool(guess.verified),
            labels_granted=bool(guess.labels_granted),
            trace=_TRACE.validate_python(guess.trace),
            notes=_NOTES.validate_python(guess.notes),
        )
    except (TypeError, ValueError) as error:  # pydantic's is a ValueError
        rule = "objective must be a number, trace curves of (step, objective), notes sentences"
        raise AuditError(f"{name}: the fields of its Reconstruction are wrong: {rule}.") from error
