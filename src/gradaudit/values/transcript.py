"""The texts or rows of a case in words, as the report shows them side by side."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .records import Number, checked


@dataclass(frozen=True)
class TranscriptLine:
    """One text or row in words.

    Args:
        pieces: Decoded tokens (a leading blank begins a word), or cells.
        differs: For each piece, whether it differs from the private example at this position.
        confidence: For each piece, the confidence of the attack in [0, 1], or empty.
        values: Token ids, or the encoded row; `None` for NaN and infinity.
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
        reconstruction: Their reconstructions.
        control: The control, a guess made without the update.
    """

    columns: tuple[str, ...]
    truth: tuple[TranscriptLine, ...]
    reconstruction: tuple[TranscriptLine, ...]
    control: tuple[TranscriptLine, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`; NaN and infinity become `None`."""
        record = asdict(self)
        for name in ("truth", "reconstruction", "control"):
            for line in record[name]:
                for key in ("values", "confidence"):
                    line[key] = [value if math.isfinite(value) else None for value in line[key]]
        return record

    @classmethod
    def from_json(cls, record: Any) -> Transcript:
        """Return the transcript of a record of `to_json`. Raise `ValueError` that names the first wrong entry."""
        found = checked(cls, record)
        for name in ("truth", "reconstruction", "control"):
            for number, line in enumerate(getattr(found, name)):
                if {len(line.differs), len(line.confidence)} - {0, len(line.pieces)}:
                    raise ValueError(f"{name}.{number}: differs and confidence are not of its pieces")
        return found
