"""The values that flow through an audit: frozen data without behaviour.

Shapes: `B` examples, `C` channels, `H` x `W` pixels, `K` classes; `L` tokens of a text; `D` numbers of an encoded row.
Images are in [0, 1] everywhere outside `inversion/`, and normalised (`(x - mean) / std` per channel) inside it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic_core import core_schema
from torch import Tensor

from .columns import TableLayout

Tensors = tuple[Tensor, ...]
LossFunction = Callable[[Any, Tensor], Tensor]
"""`(output of a model, labels) -> scalar`."""


class Knowledge(enum.Flag):
    """Facts that the adversary may be granted in addition to the model, the update and the input shape.

    >>> (ga.Knowledge.LABELS | ga.Knowledge.BATCH_SIZE).names
    ('BATCH_SIZE', 'LABELS')
    """

    NOTHING = 0
    BATCH_SIZE = enum.auto()
    LABELS = enum.auto()
    LOCAL_TRAINING = enum.auto()
    DEFENSE = enum.auto()
    BATCH_STATISTICS = enum.auto()
    PUBLIC_DATA = enum.auto()
    GENERATOR = enum.auto()
    EMBEDDING_GRADIENT = enum.auto()
    MODEL_CONTROL = enum.auto()
    IMAGE_STATISTICS = enum.auto()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the granted flags, in the order of their definition."""
        return tuple(flag.name or "" for flag in self)


ORACLE = Knowledge.IMAGE_STATISTICS
"""Facts that no real adversary has: for ablations only, in no level, and always shown in red."""


class Level:
    """The assumption levels 0-5 of the SoK (Du et al., arXiv:2404.05403, section 3), each including the levels below.

    `BASIC` is level 0: the model, the update, the input shape, the batch size, and with them the loss, one FedSGD step
    and the BatchNorm mode. `PRIORS` (level 1) grants no further fact: total variation and similar priors are common
    knowledge about images. Labels and the defense belong to no level; they are granted by their own flags.

    >>> ga.Level.PRIORS == ga.level("priors")
    True
    >>> (ga.Level.TRAINING_DETAILS | ga.Knowledge.LABELS).names
    ('BATCH_SIZE', 'LABELS', 'LOCAL_TRAINING', 'PUBLIC_DATA', 'GENERATOR')
    """

    BASIC = Knowledge.BATCH_SIZE
    PRIORS = BASIC
    DATA_DISTRIBUTION = PRIORS | Knowledge.PUBLIC_DATA | Knowledge.GENERATOR
    TRAINING_DETAILS = DATA_DISTRIBUTION | Knowledge.LOCAL_TRAINING
    BATCH_STATISTICS = TRAINING_DETAILS | Knowledge.BATCH_STATISTICS
    MALICIOUS_SERVER = BATCH_STATISTICS | Knowledge.MODEL_CONTROL


LEVELS: dict[str, Knowledge] = {
    "basic": Level.BASIC,
    "priors": Level.PRIORS,
    "data-distribution": Level.DATA_DISTRIBUTION,
    "training-details": Level.TRAINING_DETAILS,
    "batch-statistics": Level.BATCH_STATISTICS,
    "malicious-server": Level.MALICIOUS_SERVER,
}


class UpdateKind(enum.StrEnum):
    """The kind of values in an update."""

    GRADIENT = "gradient"
    WEIGHT_DIFFERENCE = "weight-difference"


class Modality(str):
    """The kind of an example, by its name: there is one value for each name, so that `is` compares them.

    Those of this package have constants; another package makes its own, such as `Modality("audio")`, and offers how
    its examples are handled through an entry point of the group `gradaudit.modalities`.
    """

    __slots__ = ()
    PICTURES: ClassVar[Modality]
    TEXT: ClassVar[Modality]
    TABLE: ClassVar[Modality]

    def __new__(cls, name: str) -> Modality:
        """Return the value of that name."""
        return _MODALITIES.setdefault(str(name), super().__new__(cls, name))

    def __repr__(self) -> str:
        return f"Modality({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


_MODALITIES: dict[str, Modality] = {}
Modality.PICTURES, Modality.TEXT, Modality.TABLE = Modality("pictures"), Modality("text"), Modality("table")


@dataclass(frozen=True)
class TextLayout:
    """The public facts about a tokenizer.

    Args:
        size: Number of tokens V; an id is in [0, V).
        padding: The id that pads shorter texts.
        opening: Ids that every text begins with, such as BERT's `[CLS]`.
        closing: Ids that every text ends with, before its padding, such as BERT's `[SEP]`.
    """

    size: int
    padding: int = 0
    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()

    @property
    def special(self) -> tuple[int, ...]:
        """Ids that carry no text: padding, opening and closing."""
        return tuple(dict.fromkeys((self.padding, *self.opening, *self.closing)))


@dataclass(frozen=True)
class Normalisation:
    """Per-channel `(x - mean) / std`, applied by the client before the model; public.

    Without arguments it is the identity, on inputs of any shape.

    Args:
        mean: One value per channel, in units of [0, 1] pixels.
        std: One positive value per channel.

    >>> ga.Normalisation((0.5,), (0.25,)).apply(torch.ones(1, 1, 1))
    tensor([[[2.]]])
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def apply(self, pictures: Tensor) -> Tensor:
        """Return images `[..., C, H, W]` in [0, 1] normalised."""
        if self == Normalisation():
            return pictures
        return (pictures - self._of(self.mean, pictures)) / self._of(self.std, pictures)

    def invert(self, inputs: Tensor) -> Tensor:
        """Return normalised inputs `[..., C, H, W]` as pixels, outside [0, 1] if the input is outside the box."""
        if self == Normalisation():
            return inputs
        return inputs * self._of(self.std, inputs) + self._of(self.mean, inputs)

    def box(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds of a valid pixel in normalised space, each `[C, 1, 1]`, on the device of `like`."""
        zero = torch.zeros(len(self.mean), 1, 1, dtype=like.dtype, device=like.device)
        return self.apply(zero), self.apply(zero + 1)

    @staticmethod
    def _of(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


@dataclass(frozen=True, eq=False)
class Batch:
    """The client's private examples. Only the client and the audit may hold one.

    Args:
        inputs: Images `[B, C, H, W]` in [0, 1]; token ids `[B, L]`, int64, padded; or encoded rows `[B, D]`, floats.
        labels: `[B]`, integers in [0, K); under a loss that takes others, `[B, ...]` of its kind.
        modality: Kind of the examples.
        lengths: For texts: `[B]`, numbers of tokens before padding, or `None` without padding.
        text: For texts: the public facts about the tokenizer, if known.
        table: For rows: the columns of the table, if known.

    >>> len(ga.Batch(torch.rand(2, 3, 8, 8), torch.tensor([0, 1])))
    2
    """

    inputs: Tensor
    labels: Tensor
    modality: Modality = Modality.PICTURES
    lengths: Tensor | None = None
    text: TextLayout | None = None
    table: TableLayout | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device | str) -> Batch:
        """Return the same examples on `device`."""
        lengths = None if self.lengths is None else self.lengths.to(device)
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device), lengths=lengths)


@dataclass(frozen=True, eq=False)
class Update:
    """What the client sends.

    Both kinds have the sign of a gradient: a weight difference is `θ_before - θ_after`. Both are therefore compared in
    the same way.

    Args:
        tensors: Name -> tensor, in the order of the model's trainable parameters.
        kind: A gradient, or a weight difference after several local steps.
        buffers: Name -> buffer of the model after local training, if they are sent.
        examples: Number of examples, if it is sent.

    >>> ga.Update({"weight": torch.zeros(2)}).emptiness
    'the update is zero in every value: the loss has no slope at this batch, or a defense left nothing'
    """

    tensors: Mapping[str, Tensor]
    kind: UpdateKind = UpdateKind.GRADIENT
    buffers: Mapping[str, Tensor] | None = None
    examples: int | None = None

    @property
    def values(self) -> Tensors:
        """The tensors without their names."""
        return tuple(self.tensors.values())

    @property
    def emptiness(self) -> str:
        """Why the update contains no information, without a full stop, or an empty string."""
        if not any(tensor.numel() for tensor in self.values):
            return "the update holds no values"
        if not any(tensor.any() for tensor in self.values):
            return "the update is zero in every value: the loss has no slope at this batch, or a defense left nothing"
        if all((tensor == tensor.flatten()[0]).all() for tensor in self.values if tensor.numel()):
            return "every tensor of the update is constant"
        return ""


Curve = tuple[tuple[int, float], ...]
"""Points `(step, objective)` of one run of an attack."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The result of an attack: its best candidate, selected by its own objective alone.

    Args:
        inputs: `[B, C, H, W]` pixels, in [0, 1] if the attack has a box constraint; `[B, L]` token ids, int64; or
            `[B, D]` encoded rows.
        labels: `[B]` integers, or `None` if the attack states no labels.
        objective: Value of the attack's selection measure at the reconstruction.
        verified: Whether the update recomputed from the reconstruction equals the observed one (relative distance at
            most 1e-3).
        labels_granted: Whether the adversary was granted the labels instead of inferring them.
        trace: Objective during the run, one curve per restart.
        notes: Sentences about the run.
        confidence: Confidence of the attack in [0, 1], `[B, columns]`, one number per cell of a table, or `None`.
        logits: `[B, K]`, if labels were optimised together with the inputs, else `None`.
        iterates: Numbers of steps and the inputs that the attack would have returned after them, if asked for.
        cut: Steps that were done and steps of the whole attack, if a time limit ended it early, else `None`.

    >>> batch = ga.Batch(torch.rand(1, 3, 8, 8), torch.tensor([0]))
    >>> ga.audit.score(batch, ga.Reconstruction(batch.inputs, None, objective=0.0)).psnr.mean
    100.0
    """

    inputs: Tensor
    labels: Tensor | None
    objective: float
    verified: bool = False
    labels_granted: bool = False
    trace: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    confidence: Tensor | None = None
    logits: Tensor | None = None
    iterates: tuple[tuple[int, Tensor], ...] = ()
    cut: tuple[int, int] | None = None
