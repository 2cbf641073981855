"""The scores of a reconstruction: one per metric, over the examples of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .records import Number


@dataclass(frozen=True)
class Score:
    """One metric over the examples of a batch.

    Args:
        per_example: One value per private example, after the assignment.
        worst_leak: The value of the example that leaked most (highest PSNR or accuracy, lowest LPIPS).
    """

    per_example: tuple[Number, ...]
    worst_leak: Number

    @property
    def mean(self) -> float:
        """Arithmetic mean over the examples."""
        return sum(self.per_example) / len(self.per_example)

    @classmethod
    def of(cls, values: tuple[float, ...], *, higher_is_better: bool = True) -> Score:
        """Return the score of one or more `values`."""
        return cls(tuple(values), max(values) if higher_is_better else min(values))

    def to_json(self) -> dict[str, Any]:
        """Return `{"mean", "worst_leak", "per_example"}`."""
        return {"mean": self.mean, "worst_leak": self.worst_leak, "per_example": list(self.per_example)}


@dataclass(frozen=True)
class Scores:
    """All metrics of one set of examples against the private batch, by their names in `metrics.METRICS`.

    Args:
        named: Metric -> its score.
        why_not: Name of a missing metric -> the reason.
    """

    named: Mapping[str, Score]
    why_not: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Score:
        return self.named[metric]

    def get(self, metric: str) -> Score | None:
        """Return the score of `metric`, or `None` if it does not apply."""
        return self.named.get(metric)

    @property
    def psnr(self) -> Score:
        """PSNR of images in dB, at most 100."""
        return self.named["psnr"]

    @property
    def ssim(self) -> Score | None:
        """SSIM of images, in [-1, 1]."""
        return self.get("ssim")

    @property
    def lpips(self) -> Score | None:
        """LPIPS of images: a distance, 0 for equal images."""
        return self.get("lpips")

    @property
    def rank(self) -> Score | None:
        """Identification rank of the true image in the gallery; 1 means identified."""
        return self.get("rank")

    def to_json(self) -> dict[str, Any]:
        """Return every metric by its name, `None` if it does not apply, and the reasons for missing metrics."""
        missing = dict.fromkeys(self.why_not)
        return {**missing, **{name: s.to_json() for name, s in self.named.items()}, "why_not": dict(self.why_not)}

    @staticmethod
    def shaped(record: Any) -> Any:
        """Return a record of `to_json` with the fields of this class; return anything else unchanged."""
        if not isinstance(record, Mapping):
            return record
        named = {name: entry for name, entry in record.items() if name != "why_not" and entry is not None}
        return {"named": named, "why_not": record.get("why_not", {})}
