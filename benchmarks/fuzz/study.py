"""A study that ends at once, for the commands that the fuzzer runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit import studies
from gradaudit.studies import Study, Table


@dataclass(frozen=True)
class Cell:
    """A cell that measures nothing."""

    size: int

    @property
    def name(self) -> str:
        return f"size {self.size}"

    def missing(self, bench: object) -> str | None:
        return None

    def measure(self, bench: object, seed: int) -> dict[str, float | None]:
        return {"square": float(self.size**2 + seed)}


FUZZED = Study(
    name="fuzz",
    title="Squares",
    paper="none",
    about="None.",
    cells={"default": (Cell(1), Cell(2))},
    repeats={"default": 2},
    tables=(Table("Squares", {"square": "square"}),),
)


@contextlib.contextmanager
def offered() -> Iterator[None]:
    """Add the study to the registered ones inside the context."""
    known = studies.STUDIES
    studies.STUDIES = {**known, FUZZED.name: FUZZED}  # type: ignore[assignment]
    try:
        yield
    finally:
        studies.STUDIES = known
