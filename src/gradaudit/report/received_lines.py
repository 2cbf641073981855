"""What the detectors found in a received model as lines of text, shared by the terminal and the page."""

from __future__ import annotations

from ..client.detectors import Detection
from ..client.model_check import CAUTION, ModelCheck
from .inspection_lines import FactRow

TITLE = "The received model"
HEADINGS = ("detector", "result", "value", "meaning")
RESULTS = {True: "alarm", False: "no alarm", None: "cannot be judged"}


def lead(found: ModelCheck) -> tuple[str, ...]:
    """Return the verdict, and what training on the model would have given away."""
    return (found.verdict, *((found.exact.sentence,) if found.exact is not None else ()))


def detector_rows(found: ModelCheck) -> tuple[FactRow, ...]:
    """Return one row for each detector: result, values with threshold and honest range, sentence. Alarms are strong."""
    return tuple(
        FactRow(one.detector, (RESULTS[one.alarm], _values(one), f"{one.sentence} ({one.paper})"), bool(one.alarm))
        for one in found.detections
    )


def remarks(found: ModelCheck) -> tuple[str, ...]:
    """Return what the result does not say, and the digest for other clients."""
    return (CAUTION, f"Digest for other clients: {found.digest}")


def _values(found: Detection) -> str:
    return "; ".join(one.words for one in found.indicators)
