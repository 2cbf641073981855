"""Running one attack safely: it yields a valid reconstruction, a reason why it could not run, or an `AuditError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor

from ..inversion.attack import Attack, Watch
from ..inversion.run.call import run_attack_on_all
from ..protocol.local_training import rules_of
from ..protocol.observation import Observation
from ..values.chance import child_seed
from ..values.errors import AttackFailed, AuditError, guarded
from ..values.types import Curve, Reconstruction

Attempt = Reconstruction | AttackFailed
"""What an attack returned, or why it could not run."""

_TRACE, _NOTES = TypeAdapter(tuple[Curve, ...]), TypeAdapter(tuple[str, ...])
_CUT = TypeAdapter(tuple[int, int] | None)


def attempt(
    attack: Attack,
    name: str,
    seen: Sequence[Observation],
    seeds: Sequence[int],
    watch: Watch | None = None,
    keep: Path | None = None,
) -> list[Attempt]:
    """Run an attack on several updates of one client, in one forward and backward pass where that is possible.

    Args:
        attack: An attack of this package or the user's own.
        name: Name of the attack in errors.
        seen: What the adversary sees of each update.
        seeds: One seed for each update.
        watch: Called with the progress.
        keep: Folder for the checkpoints of a long attack; see `inversion.keeper`.

    Returns:
        For each update the reconstruction, or the reason why the attack could not run on it.

    Raises:
        AuditError: The attack's code raised any other exception, or returned no valid `Reconstruction`.
    """
    open_ = [i for i, one in enumerate(seen) if not one.update.emptiness]
    with guarded(name):
        mine, own = [seen[i] for i in open_], [seeds[i] for i in open_]
        found = run_attack_on_all(attack, mine, seeds=own, watch=watch, keep=keep)
    classes = rules_of(seen[0].loss).classes
    checked = (guess if isinstance(guess, AttackFailed) else _real(_valid(guess, name, classes)) for guess in found)
    made = dict(zip(open_, checked, strict=True))
    return [made.get(i) or AttackFailed(f"{one.update.emptiness}.") for i, one in enumerate(seen)]


def _readable(value: Tensor) -> bool:
    """Return whether torch can compute with the numbers of a tensor: float8, for instance, it only stores."""
    if value.is_complex() or value.is_quantized or value.is_meta or value.layout is not torch.strided:
        return False
    return not value.is_floating_point() or value.element_size() > 1


def _real(guess: Reconstruction) -> Attempt:
    """Return `guess` with a note on its non-finite values, or a failure if no value is finite."""
    broken = int((~guess.inputs.isfinite()).sum())
    if broken and broken == guess.inputs.numel():
        return AttackFailed("every value of the reconstruction is NaN or infinite.")
    note = f"{broken} of {guess.inputs.numel()} values of the reconstruction are NaN or infinity; each counts as wrong."
    return replace(guess, notes=(*guess.notes, note)) if broken else guess


def _valid(guess: Reconstruction, name: str, classes: bool) -> Reconstruction:
    """Return `guess` with checked fields, without labels that are not classes; raise `AuditError` if it is invalid."""
    if not isinstance(guess, Reconstruction):
        raise AuditError(f"{name}: returned a value of type {type(guess).__name__}, not a Reconstruction.")
    guess = guess if classes else replace(guess, labels=None)
    for field, value in (("inputs", guess.inputs), ("labels", guess.labels), ("confidence", guess.confidence)):
        if not isinstance(value, Tensor) and (value is not None or field == "inputs"):
            raise AuditError(f"{name}: {field} must be a tensor. Found a value of type {type(value).__name__}.")
        if value is not None and not _readable(value):
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
            cut=_CUT.validate_python(guess.cut),
        )
    except (TypeError, ValueError) as error:  # pydantic's is a ValueError
        rule = "objective must be a number, trace curves of (step, objective), notes sentences, cut two counts"
        raise AuditError(f"{name}: the fields of its Reconstruction are wrong: {rule}.") from error


def attack_seed(seed: int) -> int:
    """Return the seed of an attack, derived from `seed` in such a way that `seed` cannot be computed from it."""
    return child_seed(seed, "the attack")
