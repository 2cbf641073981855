"""The audit file: its schema, its reading and its error messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from ..protocol.local_training import LocalTraining
from ..values.errors import AuditError
from ..values.granting import FACTS, granted
from ..values.thresholds import read_thresholds
from ..values.types import Knowledge
from ..values.validation import as_name, brief, suggest
from .attack_entry import AttackEntry
from .battery import DEFAULT
from .budget import as_budget, seconds_of
from .changes import as_entry, change_file, parsed_change
from .federation_section import FederationSection
from .recoverability_section import RecoverabilitySection, as_section
from .yaml_text import LARGEST, MOST_BYTES, decode_yaml, parse_yaml, write_yaml

T = TypeVar("T")

SWEPT = ("grid", "zip")  # keys of a sweep file that an audit file does not have
_Fraction = Annotated[float, Field(ge=0, lt=1)]
# A larger count is a typing error: such a run would take years.
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """`model:` which network the client trains.

    Args:
        name: A model of this package for the modality of the data, or any torchvision classifier. Either `name` or
            `factory` is needed.
        factory: `package.module:function` or `file.py:function`, called without arguments.
        num_classes: Number of outputs; the data's number of classes by default, 10 if it has none.
        cifar_stem: For torchvision's ResNets: a 3x3 first convolution and no max-pool.
        weights: A file `.safetensors`, `.pt` or `.npz`.
        mean: Mean of each channel for the normalisation; ImageNet's by default, 0.5 for one channel.
        std: Standard deviation of each channel, with the same defaults.
        channels: Number of input channels; the data's by default.
    """

    name: str | None = None
    factory: str | None = None
    num_classes: int | None = Field(default=None, ge=2)
    cifar_stem: bool = False
    weights: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    channels: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of(self) -> ModelSection:
        if (self.name is None) == (self.factory is None):
            raise ValueError("give either name or factory")
        if self.factory is not None and self.cifar_stem:
            raise ValueError("cifar_stem is for a model that is given by its name")
        return self


class TrainingSection(_Section):
    """`training:` the client's local training; see `LocalTraining`.

    `loss` is a name, or a mapping of `name` and the options of that loss; cross entropy by default.
    """

    loss: str | dict[str, Any] | None = None
    kind: Literal["fedsgd", "fedavg"] = "fedsgd"
    batch_norm: Literal["eval", "train"] = "eval"
    epochs: _Count = 1
    minibatch_size: _Count | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    nesterov: bool = False
    optimiser: Literal["sgd", "adam"] = "sgd"
    betas: tuple[_Fraction, _Fraction] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    shuffle: bool = False
    drop_last: bool = False
    dropout: bool = False
    share_buffers: bool = False
    shared: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    update: Literal["gradient", "weight-difference"] | None = None

    @model_validator(mode="after")
    def _fits(self) -> TrainingSection:
        given = self.model_dump(exclude={"kind", "loss", "batch_norm", "dropout", "share_buffers", "shared"})
        steps = [key for key, value in given.items() if value != type(self).model_fields[key].default]
        if self.kind == "fedsgd" and steps and (steps, self.update) != (["update"], "gradient"):
            raise ValueError(f"fedsgd is one step on the whole batch, without {steps[0]}; choose kind: fedavg")
        if self.kind == "fedavg" and self.learning_rate is None:
            raise ValueError("fedavg needs a learning_rate")
        try:
            LocalTraining(**self.model_dump(exclude={"kind", "loss"}))
        except AuditError as error:
            raise ValueError(str(error).removeprefix("training: ")) from error
        return self

    @model_serializer(mode="wrap")
    def _without_default(self, written: Any) -> dict[str, Any]:
        """Omit the loss if it is the default, as the files of earlier runs do."""
        found = written(self)
        if self.loss is None:
            found.pop("loss", None)
        return found


class UpdateSection(_Section):
    """`update:` a captured update, instead of one that a simulated client computes.

    Args:
        path: A file `.safetensors`, `.pt`, `.pth` or `.npz`.
        before: The weights that the server sent, in a file of any of these formats.
        kind: What the file holds; `auto` takes it from the metadata of the file, or from its values.
        sign: Direction of a difference; by default determined from the last layer, if possible.
        batch_size: Number of examples of the batch.
        labels: Class of each example of the batch.
        input_shape: `[C, H, W]` of one image, if `data` does not tell.
    """

    path: Path
    before: Path | None = None
    kind: Literal["auto", "gradient", "weights", "difference", "weight-difference"] = "auto"
    sign: Literal["before-minus-after", "after-minus-before"] | None = None
    batch_size: _Count | None = None
    labels: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    input_shape: tuple[_Count, _Count, _Count] | None = None


def _fact(value: Any) -> Any:
    if value in FACTS:
        return value
    raise ValueError(f"unknown fact {as_name(value)}{suggest(as_name(value), FACTS)}")


def _limits(value: dict[str, Any]) -> dict[str, Any]:
    try:
        read_thresholds(value, "")
    except AuditError as error:
        raise ValueError(str(error)) from error
    return value


class AuditConfig(_Section):
    """The contents of an audit file."""

    data: dict[str, Any]
    model: ModelSection
    knowledge: tuple[Annotated[str, BeforeValidator(_fact)], ...]
    training: TrainingSection = TrainingSection()
    defenses: tuple[dict[str, Any], ...] = ()
    attacks: tuple[Annotated[AttackEntry, BeforeValidator(as_entry)], ...] = (AttackEntry(name=DEFAULT),)
    clients: _Count = 1
    rounds: Annotated[int, Field(ge=1, le=1000)] = 1
    repeats: _Count = 1
    seed: int = Field(default=0, ge=0, le=LARGEST)
    device: str = "auto"
    public_data: dict[str, Any] | None = None
    update: UpdateSection | None = None
    budget: Annotated[str | None, BeforeValidator(as_budget)] = None
    # Excluded from the dump, so that another threshold, federation or noise level is no other run.
    federation: FederationSection | None = Field(default=None, exclude=True)
    recoverability: Annotated[RecoverabilitySection | None, BeforeValidator(as_section)] = Field(None, exclude=True)
    fail_over: Annotated[dict[str, Any], AfterValidator(_limits)] = Field(default={}, exclude=True)

    @model_serializer(mode="wrap")
    def _without_capture(self, written: Any) -> dict[str, Any]:
        """Omit what says nothing and the files of earlier versions do not have: no capture, a single round."""
        found = written(self)
        silent = {"update": self.update is None, "rounds": self.rounds == 1}
        return {key: value for key, value in found.items() if not silent.get(key)}

    @property
    def seconds(self) -> float | None:
        """The time budget of the whole audit in seconds, `None` without one."""
        return None if self.budget is None else seconds_of(self.budget)

    @property
    def granted(self) -> Knowledge:
        """All granted facts together."""
        return granted(self.knowledge)

    def as_yaml(self) -> str:
        """Return the resolved audit file as YAML, with every default written out."""
        limits = {"fail_over": self.fail_over} if self.fail_over else {}
        sections = {"federation": self.federation, "recoverability": self.recoverability}
        more = {key: section.model_dump(mode="json") for key, section in sections.items() if section}
        return write_yaml({**self.model_dump(mode="json"), **more, **limits})


def read_config(path: Path, changes: Sequence[str] = ()) -> AuditConfig:
    """Read an audit file and apply `key.sub=value` changes.

    Raises:
        AuditError: There is no such file, its YAML is broken (with the line), a key is unknown, or a value is out of
            range.
    """
    return make_config(read_values(path), changes, str(path))


def read_values(path: Path) -> Any:
    """Return the plain value of an audit file or a sweep file, unchecked.

    Raises:
        AuditError: There is no such file, or its YAML is broken (with the line).
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AuditError(f"{path}: cannot read the audit file: {reason}.") from error
    return parse_yaml(decode_yaml(data, str(path)), str(path))


def make_config(raw: Any, changes: Sequence[str] = (), label: str = "audit") -> AuditConfig:
    """Return the configuration from parsed YAML; `label` names it in errors."""
    if not isinstance(raw, dict):
        raise AuditError(f"{label}: must be a mapping with at least data, model and knowledge.")
    raw = deepcopy(raw)
    for path, value in map(parsed_change, changes):
        change_file(raw, path, value, f"--set {path}")
    swept = next((key for key in SWEPT if key in raw), None)
    if swept:
        raise AuditError(f"{label}: {swept}: is a key of a sweep. Run `gradaudit sweep`, or remove the key.")
    return validated(AuditConfig, with_truth(raw), f"{label}: ")


def with_truth(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the plain values of an audit file, with an empty `data` for a captured update without ground truth."""
    return {"data": {}, **raw} if raw.get("update") is not None else raw


def validated(kind: type[T], raw: Any, at: str) -> T:
    """Return a model or dataclass from plain values of exactly its types: `true` is not a number, nor is `"3"`.

    Raises:
        AuditError: A value does not fit; the message is one line on the first problem and begins with `at`, which ends
            in `: ` or a full stop.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(raw, default=os.fspath, allow_nan=False), strict=True)
    except ValidationError as error:
        raise AuditError(f"{at}{explain(error, kind)}") from error
    except (TypeError, ValueError, RecursionError) as error:  # only from Python: a key that is not text, NaN, a cycle
        raise AuditError(f"{at.rstrip('.: ')}: must contain only plain values: {error}.") from error


def explain(error: ValidationError, model: type[Any]) -> str:
    """Return the first problem of a validation as one line with its path and, for an unknown key, the known keys."""
    problem = error.errors()[0]
    path = ".".join(map(str, problem["loc"]))
    known = _fields(model, problem["loc"][:-1])
    name = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}: unknown key{suggest(name, known)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{path}: is missing."
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be").rstrip(".")
    found = f". Found {brief(problem['input'])}." if problem["type"] != "value_error" else "."
    return f"{path or 'file'}: {message}{found}"


def _fields(model: Any, path: tuple[int | str, ...]) -> list[str]:
    for step in path:
        annotation = model.model_fields[step].annotation if step in getattr(model, "model_fields", {}) else None
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        model = kinds[0] if kinds else AttackEntry if "attacks" in path else None
    named: Mapping[str, Any] = getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {})
    return list(named)
