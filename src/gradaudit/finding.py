"""What an audit found, case by case, as frozen values that survive a trip through one JSON line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .types import Curve


@dataclass(frozen=True)
class Score:
    """One metric over the examples of a batch.

    Args:
        per_example: One value per private example, after the assignment.
        worst_leak: The value of the example that leaked most (highest PSNR or SSIM, lowest LPIPS).
    """

    per_example: tuple[float, ...]
    worst_leak: float

    @property
    def mean(self) -> float:
        """Arithmetic mean over the examples."""
        return sum(self.per_example) / len(self.per_example)

    @classmethod
    def of(cls, values: tuple[float, ...], *, higher_is_better: bool = True) -> Score:
        """The score of `values`, at least one of them."""
        return cls(tuple(values), max(values) if higher_is_better else min(values))

    def to_json(self) -> dict[str, Any]:
        """`{"mean", "worst_leak", "per_example"}`."""
        return {"mean": self.mean, "worst_leak": self.worst_leak, "per_example": list(self.per_example)}


@dataclass(frozen=True)
class Scores:
    """All metrics of one set of pictures against the private batch; `None` where a metric does not apply.

    Args:
        psnr: In dB, capped at 100.
        ssim: In [-1, 1].
        lpips: Distance, 0 for equal pictures.
        rank: Identification rank of the true picture in the gallery, 1 = identified.
        why_not: Name of a missing metric -> the reason.
    """

    psnr: Score
    ssim: Score | None = None
    lpips: Score | None = None
    rank: Score | None = None
    why_not: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Every metric by its name, and the reasons of the missing ones."""
        metrics = {name: getattr(self, name) for name in ("psnr", "ssim", "lpips", "rank")}
        shown = {name: score.to_json() if score else None for name, score in metrics.items()}
        return {**shown, "why_not": dict(self.why_not)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Scores:
        """The inverse of `to_json`."""

        def score(name: str) -> Score | None:
            entry = record.get(name)
            return Score(tuple(entry["per_example"]), entry["worst_leak"]) if entry else None

        psnr = score("psnr")
        assert psnr is not None
        return cls(psnr, score("ssim"), score("lpips"), score("rank"), record.get("why_not", {}))


@dataclass(frozen=True)
class Pictures:
    """Paths of the pictures of a case, relative to the run's folder, one per private example, in the same order."""

    truth: tuple[str, ...] = ()
    reconstruction: tuple[str, ...] = ()
    control: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One audited case: one attack on one update of one client.

    Args:
        attack: The attack's name as the user gave it.
        paper: Where it was published (arXiv id or DOI), empty for the user's own.
        case: Key of the case within its run; a run holds each key once.
        client: Short name of the client's configuration, such as `no defense` or `gaussian-noise std=0.01`.
        seed: Of the run.
        repeat: Which batch, from 0.
        scores: Reconstruction against truth, after the assignment.
        control: The control picture against truth, through the same assignment.
        label_accuracy: Fraction of examples whose label came back right, `None` without a statement about labels.
        labels_granted: The labels were handed to the adversary.
        objective: The attack's own objective at its guess.
        seconds: Wall time of the attack.
        verified: The update recomputed from the guess equals the observed one.
        needs: Names of the flags that the attack needs.
        knowledge: Names of the flags that were granted.
        attack_value: `repr` of the attack: evaluates to it again.
        client_value: `repr` of the client's model name, training, defenses and normalisation.
        labels: True labels, one per example.
        guessed_labels: Labels of the reconstruction, or `None`.
        gallery: Number of pictures among which an example was to be identified.
        pictures: Where the pictures lie.
        picture_names: What the examples are called in their source.
        curves: Objective over the run, `(step, objective)` points, one curve per restart.
        deviations: Where the attack differs from its paper.
        notes: Plain sentences for the reader.
        no_op_defenses: Defenses that did not change the update.
        versions: Library -> version.
    """

    attack: str
    case: str
    client: str
    seed: int
    repeat: int
    scores: Scores
    control: Scores
    objective: float
    seconds: float
    verified: bool
    needs: tuple[str, ...]
    knowledge: tuple[str, ...]
    attack_value: str
    client_value: str
    paper: str = ""
    label_accuracy: float | None = None
    labels_granted: bool = False
    labels: tuple[int, ...] = ()
    guessed_labels: tuple[int, ...] | None = None
    gallery: int = 0
    pictures: Pictures = Pictures()
    picture_names: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    deviations: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    no_op_defenses: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def gain(self) -> tuple[float, ...]:
        """PSNR over the control, in dB, per example."""
        return tuple(a - b for a, b in zip(self.scores.psnr.per_example, self.control.psnr.per_example, strict=True))

    @property
    def psnr_gain(self) -> float:
        """Mean PSNR gain over the control, in dB."""
        return sum(self.gain) / len(self.gain)

    def to_json(self) -> dict[str, Any]:
        """One element of `findings`, ready for `json.dumps`; numbers that JSON lacks become `None`."""
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        record |= {"scores": self.scores.to_json(), "control": self.control.to_json(), "psnr_gain": self.psnr_gain}
        record["pictures"] = dataclasses.asdict(self.pictures)
        return _plain(record)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Finding:
        """The inverse of `to_json`. Raises `KeyError` or `TypeError` where `record` is no whole finding."""
        known = {f.name: _tuples(record[f.name]) for f in dataclasses.fields(cls) if f.name in record}
        known["scores"] = Scores.from_json(record["scores"])
        known["control"] = Scores.from_json(record["control"])
        known["pictures"] = Pictures(**{name: tuple(paths) for name, paths in record["pictures"].items()})
        known["objective"] = math.nan if record["objective"] is None else record["objective"]
        return cls(**known)


@dataclass(frozen=True)
class Run:
    """What the page says about a run as a whole.

    Args:
        title: Heading of the page.
        configuration: The resolved audit file(s) as YAML.
        source: Where the pictures come from, in words.
        attribution: Credit lines that the pictures' licences ask for.
        planned: Number of cases of the whole run; fewer findings mean an unfinished one.
        identity: Everything that must be equal for a run to be continued, as a flat mapping.
        version: Of gradaudit.
    """

    title: str
    configuration: str
    source: str
    planned: int
    identity: Mapping[str, Any] = field(default_factory=dict)
    attribution: str = ""
    version: str = ""


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
