"""The texts or rows of a case in words: what the page shows beside one another."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .records import Number, checked


@dataclass(frozen=True)
class TranscriptLine:
    """One text or row in words.

    Args:
        pieces: Tokens as they are read (a leading blank begins a word), or cells.
        differs: For each piece, whether it is not what stands there in the private example.
        confidence: For each piece, how sure the attack is of it, in [0, 1], or empty.
        values: Token ids, or the encoded row; `None` for what is no number.
    """

    pieces: tuple[str, ...]
    differs: tuple[bool, ...] = ()
    confidence: tuple[Number, ...] = ()
    values: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """The texts or rows of a case in words, one line per private example, in the same order.

    Args:
        columns: Names of a table's columns, empty for text.
        truth: The private examples.
        reconstruction: What came back of them.
        control: What a guess without the update looks like.
    """

    columns: tuple[str, ...]
    truth: tuple[TranscriptLine, ...]
    reconstruction: tuple[TranscriptLine, ...]
    control: tuple[TranscriptLine, ...]

    def to_json(self) -> dict[str, Any]:
        """Ready for `json.dumps`; numbers that JSON lacks become `None`."""
        record = asdict(self)
        for name in ("truth", "reconstruction", "control"):
            for line in record[name]:
                for key in ("values", "confidence"):
                    line[key] = [value if math.isfinite(value) else None for value in line[key]]
        return record

    @classmethod
    def from_json(cls, record: Any) -> Transcript:
        """The inverse of `to_json`; raises `ValueError` that names the first entry that is not as it should be."""
        found = checked(cls, record)
        for name in ("truth", "reconstruction", "control"):
            for number, line in enumerate(getattr(found, name)):
                if {len(line.differs), len(line.confidence)} - {0, len(line.pieces)}:
                    raise ValueError(f"{name}.{number}: differs and confidence are not of its pieces")
        return found
