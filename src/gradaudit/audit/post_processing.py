"""The control of an attack that processes its reconstruction afterwards: it passes through the same processing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..inversion.attack import Attack
from ..protocol.observation import Observation
from ..values.errors import AuditError, guarded
from ..values.types import Batch
from .generator_control import generator_note


def processed_control(attack: Attack, control: Tensor) -> Tensor:
    """Return the control `[B, ...]` after the attack's `post_process`, or as it is if the attack has none.

    A denoiser improves many guesses, also those that were made without the update; that is no leak.

    Raises:
        AuditError: `post_process` fails, or returns something of another shape.
    """
    process = getattr(attack, "post_process", None)
    if process is None:
        return control
    with guarded(f"{attack.name}: post_process"):
        found = process(control.clone())
    if not isinstance(found, Tensor) or found.shape != control.shape:
        made = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise AuditError(f"{attack.name}: post_process must keep the shape {list(control.shape)}. Found {made}.")
    return torch.as_tensor(found).detach().to(control)


def control_notes(attack: Attack, batch: Batch, observe: Callable[[], Observation]) -> tuple[str, ...]:
    """Return what is to be said of the control of an attack: its processing, and what a generator scores alone.

    Args:
        attack: The attack.
        batch: The private examples.
        observe: Returns what the adversary sees.
    """
    same = "The control passed through the same processing as the reconstruction, so that this alone is no gain."
    return (*([same] if hasattr(attack, "post_process") else []), *generator_note(attack, batch, observe))
