"""What every defense is: a frozen value that maps an update to the update that leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ...values.discovery import kebab
from ...values.errors import AuditError
from ...values.types import Tensors, Update


@dataclass(frozen=True)
class Defense:
    """`Update -> Update`, tensor by tensor unless a defense says otherwise.

    The fields of a defense are its parameters, in the audit file under the same names. `name` is that of the class in
    lower case with hyphens, unless a defense says otherwise.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = kebab(cls.__name__)

    def protect(self, tensors: Tensors) -> Tensors:
        """The tensors that leave the client, in the same order and shapes."""
        # each defense

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """What an adversary that knows this defense does to its own candidate update before it compares.

        Differentiable in `candidate`. The identity where knowing the defense gives no better comparison.
        """
        return candidate

    def __call__(self, update: Update) -> Update:
        protected = self.protect(update.values)
        return replace(update, tensors=dict(zip(update.tensors, protected, strict=True)))


def each(tensors: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    """`change` applied to every tensor."""
    return tuple(change(tensor) for tensor in tensors)


def require(condition: bool, defense: Defense, rule: str) -> None:
    """Raise `AuditError` with the defense's name, the rule and its value unless `condition` holds."""
    if not condition:
        raise AuditError(f"{defense.name}: {rule}. Found {defense!r}.")


def describe(defense: Defense) -> str:
    """Short form for people, such as `gaussian-noise std=0.01`."""
    shown = [f"{key}={value}" for key, value in vars(defense).items() if value is not False]
    return " ".join([defense.name, *shown])
