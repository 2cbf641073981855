"""Which tensors of an update belong to one layer."""

from __future__ import annotations

from collections.abc import Iterable


def layer_numbers(names: Iterable[str]) -> list[int]:
    """Each parameter's layer, counted from 0; parameters of a layer share their name up to its last part.

    Args:
        names: Such as `conv.weight`, in the order of the model.
    """
    known: dict[str, int] = {}
    return [known.setdefault(name.rpartition(".")[0], len(known)) for name in names]
