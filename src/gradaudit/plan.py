"""From an audit file to the cases that it asks for."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from . import inversion, models
from .attacks import ATTACKS
from .audit import Case
from .client import Client
from .config import AttackEntry, AuditConfig, TrainingSection, explain
from .datasets import SOURCES
from .datasets.base import Source
from .defenses import DEFENSES, Defense
from .errors import AuditError
from .inversion.attack import Attack, refusal
from .inversion.match import GradientMatching
from .local_training import LocalTraining
from .overrides import override, suggest
from .types import Batch, Knowledge, Normalisation

GALLERY = 999  # pictures that an example is to be told from,
GALLERY_VALUES = 50_000_000  # or as many as hold this many pixels
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, eq=False)
class Plan:
    """One audit file, resolved: every name is a value, every file is read.

    Args:
        config: As given.
        source: The pictures.
        client: The victim, on its device.
        attacks: Name as given, and the value with its changed fields.
        number: Which plan of the run, from 0.
    """

    config: AuditConfig
    source: Source
    client: Client
    attacks: tuple[tuple[str, Attack], ...]
    batch_size: int
    channels: int
    classes: int
    number: int = 0

    def __len__(self) -> int:
        return len(self.attacks) * self.config.repeats

    def cases(self) -> Iterator[Case]:
        """Every attack on every batch, batch by batch."""
        for repeat in range(self.config.repeats):
            indices = draw(len(self.source), self.batch_size, repeat, self.config.seed)
            shared = self._batch(indices)
            for position, (name, attack) in enumerate(self.attacks):
                yield Case(
                    key=f"client{self.number}-attack{position}-batch{repeat}",
                    attack_name=name,
                    attack=attack,
                    client=self.client,
                    knowledge=self.config.granted,
                    seed=self.config.seed,
                    repeat=repeat,
                    **shared,
                )

    def identity(self) -> dict[str, Any]:
        """Everything that must be the same for a run to be continued, flat."""
        state = hashlib.sha256()
        for name, tensor in self.client.model.state_dict().items():
            state.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        flat = _flat(self.config.model_dump(mode="json"))
        values = {f"attacks.{i} value": repr(attack) for i, (_, attack) in enumerate(self.attacks)}
        return {**flat, **values, "data sha256": self.source.fingerprint(), "model sha256": state.hexdigest()}

    def _batch(self, indices: list[int]) -> dict[str, Any]:
        source, device = self.source, next(self.client.model.parameters()).device
        labels = source.labels[indices] if source.labels is not None else torch.tensor(indices) % self.classes
        control = source.mean_except(indices)
        pictures = to_channels(source.stack(indices), self.channels)
        notes = []
        if source.labels is None:
            notes.append(f"The source has no labels: the label is the picture's index modulo {self.classes}.")
        if control is None:
            notes.append("No picture lies outside the batch: the control is mid grey.")
            control = torch.full(source.shape, 0.5)
        return {
            "batch": Batch(pictures, labels.to(torch.int64)).to(device),
            "control": to_channels(control, self.channels),
            "distractors": to_channels(
                source.distractors(indices, min(GALLERY, GALLERY_VALUES // math.prod(source.shape))), self.channels
            ),
            "picture_names": tuple(source.picture_names[i] for i in indices) if source.picture_names else (),
            "notes": tuple(notes),
        }


def make_plan(config: AuditConfig, folder: Path, *, number: int = 0) -> Plan:
    """Resolve an audit file whose relative paths start at `folder`.

    Raises:
        AuditError: A name, file, weight or option does not fit; an attack lacks knowledge; the batch is too large.
    """
    source, batch_size = _source(config.data, folder)
    attacks = tuple((entry.name, _attack(entry, folder, f"attacks.{i}")) for i, entry in enumerate(config.attacks))
    for name, attack in attacks:
        _check_knowledge(name, attack, config.granted)
    defenses = tuple(_defense(entry, f"defenses.{i}") for i, entry in enumerate(config.defenses))
    channels = config.model.channels or source.shape[0]
    if channels not in (1, source.shape[0]) and source.shape[0] != 1:
        raise AuditError(
            f"model.channels: cannot show pictures of {source.shape[0]} channels to {channels} input channels."
        )
    device = _device(config.device)
    shape = (channels, *source.shape[1:])
    model, classes = _model(config, source, shape, folder)
    client = Client(
        model.to(device),
        training=_training(config.training),
        defenses=defenses,
        normalisation=_normalisation(config, channels),
        model_name=config.model.name or str(config.model.factory),
    )
    return Plan(config, source, client, attacks, batch_size, channels, classes, number)


def draw(count: int, batch_size: int, repeat: int, seed: int) -> list[int]:
    """Indices of one batch, without replacement; repeats are disjoint until the source is used up."""
    round_, slot = divmod(repeat, count // batch_size)
    generator = torch.Generator().manual_seed(seed + 1_000_003 * round_)
    return torch.randperm(count, generator=generator)[slot * batch_size :][:batch_size].tolist()


def to_channels(pictures: Tensor, channels: int) -> Tensor:
    """`[..., C, H, W]` -> `[..., channels, H, W]`: grey is repeated, colour is averaged."""
    if pictures.shape[-3] == channels:
        return pictures
    grey = pictures.mean(-3, keepdim=True)
    return grey.expand(*pictures.shape[:-3], channels, *pictures.shape[-2:]).clone()


def part_names() -> dict[str, type]:
    """Constructors by which an attack's value can be written: every public part."""
    return inversion.part_names()


def _source(section: Mapping[str, Any], folder: Path) -> tuple[Source, int]:
    options = dict(section)
    name, batch_size = options.pop("source", None), options.pop("batch_size", 1)
    if name not in SOURCES:
        raise AuditError(f"data.source: unknown source {name}{suggest(str(name), SOURCES)}")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise AuditError(f"data.batch_size: must be a whole number of at least 1. Found {batch_size!r}.")
    chosen = _options(SOURCES[name], options, "data", extra=("source", "batch_size"))
    paths = {f.name: folder / value for f in fields(chosen) if isinstance(value := getattr(chosen, f.name), Path)}
    source = replace(chosen, **paths).open()
    if batch_size > len(source):
        raise AuditError(f"data.batch_size: {batch_size} is more than the {len(source)} pictures of {source.name}.")
    return source, batch_size


def _options(cls: type[Any], options: Mapping[str, Any], at: str, extra: tuple[str, ...] = ()) -> Any:
    """A frozen dataclass from the keys of a section."""
    known = [f.name for f in fields(cls)]
    for key in options:
        if key not in known:
            raise AuditError(f"{at}.{key}: unknown key{suggest(str(key), [*extra, *known])}")
    try:
        return TypeAdapter(cls).validate_python(dict(options))
    except ValidationError as error:
        raise AuditError(f"{at}.{explain(error, cls)}") from error


def _defense(entry: Mapping[str, Any], at: str) -> Defense:
    options = dict(entry)
    name = options.pop("name", None)
    if name not in DEFENSES:
        raise AuditError(f"{at}.name: unknown defense {name}{suggest(str(name), DEFENSES)}")
    return _options(DEFENSES[name], options, at, extra=("name",))


def _attack(entry: AttackEntry, folder: Path, at: str) -> Attack:
    attack = ATTACKS.get(entry.name) or _own_attack(entry.name, folder, at)
    for path, new in entry.set.items():
        attack = override(attack, path, new, part_names(), at=at)
    return attack


def _own_attack(name: str, folder: Path, at: str) -> Attack:
    file, colon, attribute = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise AuditError(f"{at}: unknown attack {name}{suggest(name, ATTACKS)} Your own: file.py:ATTACK.")
    path = folder / file
    if not path.is_file():
        raise AuditError(f"{at}: no file {path} (paths are relative to the audit file).")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        attack = getattr(module, attribute)
    except Exception as error:
        raise AuditError(f"{at}: {name} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(attack, Attack):
        raise AuditError(
            f"{at}: {name} is no attack: it needs name, needs, and a call that takes (seen, seed=, watch=)."
        )
    return attack


def _check_knowledge(name: str, attack: Attack, granted: Knowledge) -> None:
    if isinstance(attack, GradientMatching):
        attack.check(granted)
    elif attack.needs & ~granted:
        raise refusal(name, "needs", attack.needs, granted)


def _model(config: AuditConfig, source: Source, shape: tuple[int, ...], folder: Path) -> tuple[nn.Module, int]:
    section = config.model
    known = len(source.class_names) or (0 if source.labels is None else int(source.labels.max()) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if section.name is not None:
            model = models.build(
                section.name,
                num_classes=section.num_classes or known or 10,
                channels=shape[0],
                size=shape[1],
                cifar_stem=section.cifar_stem,
            )
        else:
            model = models.from_factory(str(section.factory), folder)
    if section.weights is not None:
        models.load_weights(model, folder / section.weights)
    return model, models.input_check(model, shape, torch.device("cpu"))


def _training(section: TrainingSection) -> LocalTraining:
    options = section.model_dump()
    del options["kind"]
    return LocalTraining(**options)


def _normalisation(config: AuditConfig, channels: int) -> Normalisation:
    default = IMAGENET if channels == 3 else ((0.5,) * channels,) * 2
    mean, std = config.model.mean or default[0], config.model.std or default[1]
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise AuditError(f"model.{key}: needs one value per channel, {channels}. Found {len(values)}.")
    return Normalisation(mean, std)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise AuditError(
            f"device: {name} cannot be used here: {str(error).splitlines()[0]} Take auto or cpu."
        ) from error
    return device


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            k: v for key, entry in value.items() for k, v in _flat(entry, f"{at}.{key}" if at else str(key)).items()
        }
    if isinstance(value, list) and value:
        return {k: v for i, entry in enumerate(value) for k, v in _flat(entry, f"{at}.{i}").items()}
    return {at: value}
