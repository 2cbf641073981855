"""All detectors on one received model, and what training on it would have given away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .detectors import DETECTORS, Detection
from .exact_yield import ExactYield, exact_yield
from .received import Received

CAUTION = (
    "No alarm is no evidence of honesty: models that are trained to leak (SEER, Gradient Puppeteer) evade tests of "
    "weights."
)


@dataclass(frozen=True)
class ModelCheck:
    """What the detectors found in one received model.

    Args:
        digest: SHA-256 of the weights, for comparison with other clients.
        detections: One result for each detector, alarms first, then what cannot be judged.
        exact: What the gradient of the batch would give away exactly, or `None` without a batch.
    """

    digest: str
    detections: tuple[Detection, ...]
    exact: ExactYield | None

    @property
    def alarms(self) -> tuple[Detection, ...]:
        """The detections with an alarm."""
        return tuple(one for one in self.detections if one.alarm)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        judged = sum(one.alarm is not None for one in self.detections)
        if self.alarms:
            names = ", ".join(one.detector for one in self.alarms)
            return f"Do not train on this model: {len(self.alarms)} of {judged} detectors raise an alarm ({names})."
        open_ = len(self.detections) - judged
        rest = f"; {open_} cannot be judged" if open_ else ""
        return f"No alarm by {judged} detectors{rest}." if judged else "The received model cannot be judged."

    @property
    def lines(self) -> tuple[str, ...]:
        """The verdict, every alarm, and what would have left, one sentence each."""
        exact = (self.exact.sentence,) if self.exact is not None else ()
        alarms = tuple(f"{one.detector}: {one.sentence}" for one in self.alarms)
        return (self.verdict, *alarms, *exact, *(() if self.alarms else (CAUTION,)))

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`; infinite values become `None`."""
        exact = None if self.exact is None else {**asdict(self.exact), "sentence": self.exact.sentence}
        found = [_plain(asdict(one)) for one in self.detections]
        return {
            "digest": self.digest,
            "verdict": self.verdict,
            "caution": CAUTION,
            "detections": found,
            "exact": exact,
        }


def check_model(received: Received) -> ModelCheck:
    """Return what every detector finds in a received model.

    Raises:
        AuditError: The model or the loss cannot take the batch.
    """
    found = [kind().detect(received) for kind in DETECTORS.values()]
    ranked = sorted(found, key=lambda one: {True: 0, None: 1, False: 2}[one.alarm])
    return ModelCheck(received.digest, tuple(ranked), exact_yield(received))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
