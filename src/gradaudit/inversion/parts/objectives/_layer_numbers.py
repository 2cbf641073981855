"""Group the tensors of an update by layer."""

from __future__ import annotations

from collections.abc import Iterable


def layer_numbers(names: Iterable[str]) -> list[int]:
    """Return each parameter's layer, counted from 0; parameters of a layer share their name up to its last part.

    Args:
        names: Names such as `conv.weight`, in the order of the model.
    """
    known: dict[str, int] = {}
    return [known.setdefault(name.rpartition(".")[0], len(known)) for name in names]
