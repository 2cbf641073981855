"""Partial sharing: the client shares the gradients of some layers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

import torch
from torch import nn

from ...values.errors import AttackFailed, AuditError
from ...values.types import Tensors, Update
from ._defense import Defense, Doubt, require


@dataclass(frozen=True)
class PartialSharing(Defense):
    """Partial sharing: shares the tensors whose names match a pattern; all others are tensors of zeros.

    Shokri and Shmatikov (2015) share a part of the gradient's entries; federations that freeze or personalise layers
    share whole tensors, as here. The shapes of the update stay, so that a tensor that is not shared is zero.

    An adversary that knows this defense compares the shared tensors alone.

    Args:
        shared: Glob patterns of tensor names, such as `("*weight", "fc.*")`; at least one.
    """

    example: ClassVar[tuple[Any, ...]] = (("*weight",),)
    paper: ClassVar[str] = "10.1145/2810103.2813687"
    doubt: ClassVar[Doubt] = Doubt(
        "the tensors that were not shared count as observed zeros, although the true gradient is not zero there. An "
        "adversary that knows the defense (DEFENSE) compares the shared tensors alone and may recover more",
        "its equations need the tensors that were not shared",
    )
    shared: tuple[str, ...]

    def __post_init__(self) -> None:
        given = self.shared
        require(not isinstance(given, str) and all(isinstance(one, str) for one in given), self, _RULE)
        object.__setattr__(self, "shared", tuple(given))
        require(bool(given), self, _RULE)

    def change_model(self, model: nn.Module) -> nn.Module:
        """Return the model itself; raise `AuditError` if no parameter matches a pattern."""
        self._require_match([name for name, _ in model.named_parameters()])
        return model

    def __call__(self, update: Update) -> Update:
        """Return the update with zeros in place of the tensors that are not shared.

        Raises:
            AuditError: No tensor of the update matches.
        """
        names = self._require_match(list(update.tensors))
        kept = {name: t if name in names else torch.zeros_like(t) for name, t in update.tensors.items()}
        return replace(update, tensors=kept)

    def compared(self, model: nn.Module, names: Sequence[str]) -> Sequence[str]:
        """Return the names that match; the tensors of the others are zero."""
        return self._matching(names)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate with zeros in place of the tensors that are zero in the observed update."""
        return tuple(c * o.any() for c, o in zip(candidate, observed, strict=True))

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with a pattern that matches every name: its comparison skips the tensors of zeros.

        Raises:
            AttackFailed: No tensor is zero, or all are.
        """
        shared = [bool(tensor.any()) for tensor in rounds[0]]
        if all(shared) or not any(shared):
            raise AttackFailed(
                f"{cls.name}: {'no tensor is' if any(shared) else 'all tensors are'} zero in the update."
            )
        return cls(("*",))

    def _require_match(self, names: Sequence[str]) -> list[str]:
        found = self._matching(names)
        if not found:
            known = ", ".join(names)
            raise AuditError(f"{self.name}: no tensor matches {', '.join(self.shared)}. The update has {known}.")
        return found

    def _matching(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in self.shared)]


_RULE = "shared must be a list of at least one pattern of tensor names"
