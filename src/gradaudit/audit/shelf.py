"""Open sources and models, shared by the cells of a sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 4  # of each kind; the one that was used least recently goes first


class Shelf:
    """Keeps what was opened for one audit file for the next one that asks for the same. Nobody changes what is on it.

    An audit uses an empty shelf, a sweep one for all its cells.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def get(self, kind: str, facts: object, make: Callable[[], T]) -> T:
        """Return what `make` returned for these facts, or call it.

        Args:
            kind: Such as `source`; four of each kind are kept.
            facts: Plain data on which the result depends.
            make: Makes it; its errors are passed on.
        """
        kept, key = self._kept.setdefault(kind, {}), json.dumps(facts, sort_keys=True, default=str)
        found: T = kept.pop(key) if key in kept else make()
        while len(kept) >= MOST:
            kept.pop(next(iter(kept)))
        kept[key] = found
        return found
