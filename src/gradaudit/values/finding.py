"""The findings of an audit, one per case, as frozen values that convert to and from one line of JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .measures import MEASURES, Measure
from .protection import Protection
from .records import Number, checked
from .scores import Score, Scores
from .types import Modality

Points = tuple[tuple[int, Number], ...]
"""A `Curve` as read from JSON."""
FARTHEST = 1e9
"""Upper bound of the magnitude of every score, in any unit."""
RARE = ("unlabelled", "unscored", "proof", "adaptive", "defended", "protection")
"""Fields that the JSON of a finding leaves out where they say nothing."""


@dataclass(frozen=True)
class ImageFiles:
    """Paths of the images of a case, relative to the run's folder, one per private example, in the same order."""

    truth: tuple[str, ...] = ()
    reconstruction: tuple[str, ...] = ()
    control: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One audited case: one attack on one update of one client.

    Args:
        attack: Name of the attack, as given by the user.
        paper: Its publication (arXiv id or DOI), empty for a user-defined attack.
        case: Key of the case within its run; a run holds each key once.
        client: Short name of the client's configuration, such as `no defense` or `gaussian-noise std=0.01`.
        seed: Seed of the run.
        repeat: Number of the batch, from 0.
        scores: Scores of the reconstruction against the ground truth, after the assignment.
        control: Scores of the control against the ground truth, with the same assignment.
        label_accuracy: Fraction of examples with a correct label, `None` if the attack states no labels.
        labels_granted: Whether the adversary was granted the labels.
        objective: The attack's own objective at the reconstruction.
        seconds: Wall time of the attack.
        verified: Whether the update recomputed from the reconstruction equals the observed one.
        needs: Names of the flags that the attack needs.
        knowledge: Names of the flags that were granted.
        attack_value: `repr` of the attack, which evaluates to the same attack.
        client_value: `repr` of the client's model name, training, defenses and normalisation.
        labels: True classes, one per example; none where labels are no classes.
        guessed_labels: Labels of the reconstruction, or `None`.
        gallery: Number of images among which an example is identified, 0 for text and rows.
        modality: Kind of the examples.
        pictures: Paths of the images.
        transcript: Path of the texts or rows, relative to the run's folder, empty for images.
        picture_names: Names of the examples in their source.
        curves: Objective during the run, `(step, objective)` points, one curve per restart.
        deviations: Deviations of the attack from its paper.
        notes: Sentences for the reader.
        warnings: Sentences that limit the conclusions, shown in red.
        cannot_judge: Why the case cannot be judged, or empty. There may be no scores then.
        unscored: Why there are no scores although the attack ran: there is no ground truth. Otherwise empty.
        proof: Whether, without ground truth, the reconstruction is verified by an update of at least as many numbers.
        no_op_defenses: Defenses that did not change the update.
        versions: Library -> version.
        unlabelled: Number of examples where their labels are no classes, else 0.
        trial: Name of the trial, a hash of everything that the finding depends on.
        batch: Hash of the private batch; findings with the same one, seed and repeat can be compared in pairs.
        grid: Key of the audit file -> value in this cell of a sweep; empty in an audit.
        update_sha256: SHA-256 of the tensors of the update that the adversary saw, with their names.
        battery: Name of the battery that the attack belongs to, empty if the attack itself was named.
        optional: Whether the battery does without this attack if it refuses to run (`deciding`).
        adaptive: Whether the attack knew the client's defenses and used them.
        defended: Whether the client has a defense.
        cut: Steps that were done and steps of the whole attack, if the budget ended it early, else `None`.
        protection: What is known of how the client's defenses protect the update; `None` without defenses.

    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> finding = ga.run(client, ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])), "idlg", "priors").findings[0]
    >>> finding.attack, finding.labels, finding.guessed_labels, finding.knowledge
    ('idlg', (3,), (3,), ('BATCH_SIZE',))
    >>> ga.Finding.from_json(finding.to_json()) == finding
    True
    """

    attack: str
    case: str
    client: str
    seed: int
    repeat: int
    scores: Scores
    control: Scores
    objective: Number
    seconds: Number
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
    modality: Modality = Modality.PICTURES
    pictures: ImageFiles = ImageFiles()
    transcript: str = ""
    picture_names: tuple[str, ...] = ()
    curves: tuple[Points, ...] = ()
    deviations: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cannot_judge: str = ""
    no_op_defenses: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    unlabelled: int = 0
    trial: str = ""
    batch: str = ""
    grid: Mapping[str, Any] = field(default_factory=dict)
    update_sha256: str = ""
    unscored: str = ""
    proof: bool = False
    battery: str = ""
    optional: bool = False
    cut: tuple[int, int] | None = None
    adaptive: bool = False
    defended: bool = False
    protection: Protection | None = None

    @property
    def examples(self) -> int:
        """Private examples of the batch."""
        return len(self.labels) or self.unlabelled

    @property
    def measure(self) -> Measure:
        """The metric by which its examples are judged."""
        return MEASURES[self.modality]

    @property
    def measured(self) -> Score:
        """The reconstruction's score by that metric."""
        return self.scores[self.measure.metric]

    @property
    def measured_control(self) -> Score:
        """The control's score by that metric."""
        return self.control[self.measure.metric]

    @property
    def gain(self) -> tuple[float, ...]:
        """Gain over the control by that metric, per example: in dB for images, as a fraction otherwise."""
        return tuple(a - b for a, b in zip(self.measured.per_example, self.measured_control.per_example, strict=True))

    @property
    def mean_gain(self) -> float:
        """Mean of `gain`."""
        return sum(self.gain) / len(self.gain)

    @property
    def scored(self) -> bool:
        """Whether there are scores."""
        return self.measure.metric in self.scores.named

    @property
    def judgeable(self) -> tuple[bool, ...]:
        """For each example, whether it can be judged: the control is not too close, or the attack is far better."""
        return tuple(_judgeable(self)) if self.scored else ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`; NaN and infinity become `None`."""
        kept = (f.name for f in dataclasses.fields(self) if f.name not in RARE or getattr(self, f.name))
        record = {name: getattr(self, name) for name in kept}
        record |= {"scores": self.scores.to_json(), "control": self.control.to_json(), "pictures": vars(self.pictures)}
        record |= {"protection": dataclasses.asdict(self.protection)} if self.protection else {}
        record[f"{self.measure.metric}_gain"] = self.mean_gain if self.scored else None
        plain: dict[str, Any] = _plain(record)
        return plain

    @classmethod
    def from_json(cls, record: Any) -> Finding:
        """Return the finding of which `to_json` returned `record`; all types are checked.

        Raises:
            ValueError: `record` is not a complete finding; the message names the first wrong entry.
        """
        if isinstance(record, Mapping):
            shaped = {name: Scores.shaped(record[name]) for name in ("scores", "control") if name in record}
            client = str(record.get("client_value", ""))  # of a folder of version 0.3, which has no `defended`
            record = {"defended": "defenses=(" in client and "defenses=()" not in client, **record, **shaped}
        found = checked(cls, record)
        if found.modality not in MEASURES:
            raise ValueError(f"modality: no installed package knows {found.modality!r}; known: {', '.join(MEASURES)}")
        _require_scores(found)
        return found


def _require_scores(found: Finding) -> None:
    """Raise `ValueError` if scores are missing, out of range, or of different examples."""
    metric, sizes = found.measure.metric, set()
    for name in ("scores", "control"):
        named = getattr(found, name).named
        if metric not in named and not found.cannot_judge and not found.unscored:
            raise ValueError(f"{name}.{metric}: is missing")
        sizes |= {len(score.per_example) for score in named.values()}
        for key, score in named.items():
            if any(abs(value) > FARTHEST for value in score.per_example):
                raise ValueError(f"{name}.{key}: holds a number that no score comes to")
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError("scores, control: are not of the same examples in every metric")


@dataclass(frozen=True)
class RunRecord:
    """What the report says about a run as a whole.

    Args:
        title: Heading of the report.
        configuration: The resolved audit file(s) as YAML.
        source: Description of the data source.
        attribution: Credits that the licences of the images require.
        planned: Number of cases of the whole run; with fewer findings, the run is unfinished.
        identity: Everything that must be equal to resume the run, as a flat mapping.
        version: Version of gradaudit.
        kind: `audit` or `sweep`.
        grid: Of a sweep: key of the audit file -> its values, in order.
        zipped: Of a sweep: the keys whose values go together, the first with the first; the others form a product.
        left_out: Sentences on the attacks of a battery that do not fit.
        failures: One line for each trial that failed and was not computed since.
        redacted: Whether everything private was removed from this copy of the run, which then cannot be resumed.
        trainings: Names of the trainings of a federation that belong to the run.
    """

    title: str
    configuration: str
    source: str
    planned: int
    identity: Mapping[str, Any] = field(default_factory=dict)
    attribution: str = ""
    version: str = ""
    kind: str = "audit"
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    zipped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    redacted: bool = False
    trainings: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, record: Any) -> RunRecord:
        """Return the run of which `dataclasses.asdict` returned `record`. Raise `ValueError` for a wrong type."""
        return checked(cls, record)


def _judgeable(finding: Finding) -> Iterator[bool]:
    """Yield for each example whether the control is not too close, or the attack is far better."""
    measure, control = finding.measure, finding.measured_control.per_example
    for value, other in zip(finding.measured.per_example, control, strict=True):
        far = value >= measure.recovered and value - other >= measure.recovered_gain
        yield other < measure.ceiling or far


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value
