"""The base class of all defenses: a frozen value that maps an update to the update that is shared."""

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
    """A defense that a client applies to its update before sharing it: a function `Update -> Update`.

    A defense acts on each tensor separately unless its docstring says otherwise. Its fields are its parameters, which
    have the same names in the audit file. `name` is the name of the class in lower case with hyphens by default.
    `requires` names a package that the defense imports when it is made, if any.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    requires: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = kebab(cls.__name__)

    def protect(self, tensors: Tensors) -> Tensors:
        """Return the tensors that the client shares, in the same order and shapes."""
        # each defense

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate update as an adversary that knows this defense compares it with the observed one.

        The result is differentiable in `candidate`. It is the candidate itself if knowing the defense does not improve
        the comparison.
        """
        return candidate

    def __call__(self, update: Update) -> Update:
        protected = self.protect(update.values)
        return replace(update, tensors=dict(zip(update.tensors, protected, strict=True)))


def each(tensors: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    """Return the result of `change` for every tensor."""
    return tuple(change(tensor) for tensor in tensors)


def require(condition: bool, defense: Defense, rule: str) -> None:
    """Raise `AuditError` with the defense's name, the rule and its value unless `condition` holds."""
    if not condition:
        raise AuditError(f"{defense.name}: {rule}. Found {defense!r}.")


def describe(defense: Defense) -> str:
    """Return a short description, such as `gaussian-noise std=0.01`."""
    shown = [f"{key}={value}" for key, value in vars(defense).items() if value is not False]
    return " ".join([defense.name, *shown])
