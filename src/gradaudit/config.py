"""The audit file: its schema, how it is read, and what is said when it is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import AuditError
from .local_training import LocalTraining
from .overrides import suggest
from .types import LEVELS, Knowledge

_Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """`model:` which network the client trains.

    Args:
        name: One of ours for the data's modality, or any torchvision classifier; or else
        factory: `package.module:function` or `file.py:function`, called without arguments.
        num_classes: Outputs; the data's number of classes by default, 10 where it has none.
        cifar_stem: For torchvision's ResNets: a 3x3 first convolution and no max-pool.
        weights: `.safetensors`, `.pt` or `.npz`.
        mean: Per-channel normalisation; ImageNet's by default, 0.5 for one channel.
        std: As `mean`.
        channels: Input channels; the data's by default.
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
        return self


class TrainingSection(_Section):
    """`training:` what the client does locally; see `LocalTraining`."""

    kind: Literal["fedsgd", "fedavg"] = "fedsgd"
    batch_norm: Literal["eval", "train"] = "eval"
    epochs: int = Field(default=1, ge=1)
    minibatch_size: int | None = Field(default=None, ge=1)
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
        given = self.model_dump(exclude={"kind", "batch_norm", "dropout", "share_buffers", "shared"})
        steps = [key for key, value in given.items() if value != type(self).model_fields[key].default]
        if self.kind == "fedsgd" and steps and (steps, self.update) != (["update"], "gradient"):
            raise ValueError(f"fedsgd is one step on the whole batch, without {steps[0]}; take kind: fedavg")
        if self.kind == "fedavg" and self.learning_rate is None:
            raise ValueError("fedavg needs a learning_rate")
        try:
            LocalTraining(**self.model_dump(exclude={"kind"}))
        except AuditError as error:
            raise ValueError(str(error).removeprefix("training: ")) from error
        return self


class AttackEntry(_Section):
    """One entry of `attacks:` a name or `file.py:ATTACK`, and fields to change."""

    name: str
    set: dict[str, Any] = {}


def _entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _fact(value: Any) -> Any:
    known = [*LEVELS, *(name for name in Knowledge.__members__ if name != "NOTHING")]
    if value in known:
        return value
    raise ValueError(f"unknown fact {value}{suggest(str(value), known)}")


class AuditConfig(_Section):
    """A whole audit file."""

    data: dict[str, Any]
    model: ModelSection
    knowledge: tuple[Annotated[str, BeforeValidator(_fact)], ...]
    training: TrainingSection = TrainingSection()
    defenses: tuple[dict[str, Any], ...] = ()
    attacks: tuple[Annotated[AttackEntry, BeforeValidator(_entry)], ...] = (AttackEntry(name="inverting-gradients"),)
    clients: int = Field(default=1, ge=1)
    repeats: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    public_data: dict[str, Any] | None = None

    @property
    def granted(self) -> Knowledge:
        """All facts together."""
        total = Knowledge.NOTHING
        for fact in self.knowledge:
            total |= LEVELS[fact] if fact in LEVELS else Knowledge[fact]
        return total

    def as_yaml(self) -> str:
        """The resolved file, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_config(path: Path, changes: Sequence[str] = ()) -> AuditConfig:
    """Read an audit file and apply `key.sub=value` changes.

    Raises:
        AuditError: No such file, broken YAML (with its line), an unknown key, a value out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise AuditError(f"{path}: cannot read the audit file: {reason}.") from error
    return make_config(parse_yaml(text, str(path)), changes, str(path))


def make_config(raw: Any, changes: Sequence[str] = (), label: str = "audit") -> AuditConfig:
    """The configuration from parsed YAML; `label` names it in errors."""
    if not isinstance(raw, dict):
        raise AuditError(f"{label}: must be a mapping with at least data, model and knowledge.")
    raw = deepcopy(raw)
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals or not path:
            raise AuditError(f"--set {change}: write it as key.sub=value.")
        _change(raw, path.split("."), parse_yaml(value, f"--set {path}"), path)
    try:
        return AuditConfig.model_validate(raw)
    except ValidationError as error:
        raise AuditError(f"{label}: {explain(error, AuditConfig)}") from error


def parse_yaml(text: str, label: str) -> Any:
    """YAML in which `1e-3` is a number; an error names the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise AuditError(f"{label}, line {line}: {error.problem or 'broken YAML'}.") from error
    except yaml.YAMLError as error:
        raise AuditError(f"{label}: {str(error).splitlines()[0]}") from error


def explain(error: ValidationError, model: type[Any]) -> str:
    """The first problem of a validation, in one line with its path and, for an unknown key, the keys that exist."""
    problem = error.errors()[0]
    path = ".".join(_shown(entry) for entry in problem["loc"])
    known = _fields(model, problem["loc"][:-1])
    name = str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}: unknown key{suggest(name, known)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{path}: is missing."
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be").rstrip(".")
    found = f". Found {problem['input']!r}." if problem["type"] != "value_error" else "."
    return f"{path or 'file'}: {message}{found}"


def _shown(entry: int | str) -> str:
    """A key as it is, or quoted where it would break the line."""
    text = str(entry)
    return text if text.isprintable() else repr(text)


def _fields(model: Any, path: tuple[int | str, ...]) -> list[str]:
    for step in path:
        annotation = model.model_fields[step].annotation if step in getattr(model, "model_fields", {}) else None
        model = annotation if isinstance(annotation, type) else AttackEntry if "attacks" in path else None
    named: Mapping[str, Any] = getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {})
    return list(named)


def _change(node: Any, path: list[str], value: Any, whole: str) -> None:
    head, *rest = path
    if head == "attacks" and len(rest) > 1 and rest[1] not in ("name", "set"):
        entries = node.setdefault("attacks", ["inverting-gradients"])
        index = _position(entries, rest[0], whole)
        entries[index] = entry = _entry(entries[index])
        entry.setdefault("set", {})[".".join(rest[1:])] = value
        return
    if isinstance(node, list):
        index = _position(node, head, whole)
        if rest:
            _change(node[index], rest, value, whole)
        else:
            node[index] = value
    elif isinstance(node, dict) and rest:
        _change(node.setdefault(head, {}), rest, value, whole)
    elif isinstance(node, dict):
        node[head] = value
    else:
        raise AuditError(f"--set {whole}: {head} has no place below a plain value.")


def _position(entries: Any, name: str, whole: str) -> int:
    if isinstance(entries, list) and name.isdigit() and int(name) < len(entries):
        return int(name)
    count = len(entries) if isinstance(entries, list) else 0
    raise AuditError(f"--set {whole}: no entry {name}. The list has {count}, counted from 0.")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-3` as text; this reads it as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$|^[-+]?\.\d+[eE][-+]?\d+$"),
    list("-+0123456789."),
)
