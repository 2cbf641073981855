"""Resolving the names in an audit file to values: sources, models, attacks, defenses and devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from .. import models
from ..attacks import ATTACKS, MULTI_MODAL, constructors
from ..client.defending import changed_model
from ..data.modalities import HANDLINGS, Handling, kind_of
from ..data.sources import SOURCES, AnySource
from ..inversion.attack import Attack
from ..inversion.run.started import started_from
from ..protocol.defenses import DEFENSES, Defense
from ..protocol.local_training import LOSSES, LocalTraining, Loss
from ..values.errors import AuditError, guarded
from ..values.files import is_file
from ..values.measures import MEASURES
from ..values.own_code import module_of
from ..values.types import Knowledge
from ..values.validation import as_name, brief, suggest
from .asset_files import located
from .attack_entry import AttackEntry
from .config import AuditConfig, ModelSection, TrainingSection, validated
from .overrides import override
from .shelf import Shelf

T = TypeVar("T")

MOST_CLASSES = 100_000  # most outputs of a model that is as wide as its labels: more are ids, or a typing error


def open_source(
    section: Mapping[str, Any], folder: Path, at: str = "data", shelf: Shelf | None = None
) -> tuple[AnySource, int]:
    """Return the source that a section names, from the shelf if it is there, and its batch size (1 by default).

    Raises:
        AuditError: The source, an option or the batch size does not fit, or the source cannot be read.
    """
    options = dict(section)
    name, batch_size = options.pop("source", None), options.pop("batch_size", 1)
    kind = _named(SOURCES, name, f"{at}.source", "source")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise AuditError(f"{at}.batch_size: must be a whole number of at least 1. Found {brief(batch_size)}.")
    opened = partial(_opened, kind, name, options, folder, at)
    source = (shelf or Shelf()).get("source", [name, options, str(folder)], opened)
    if batch_size > len(source):
        noun = MEASURES[source.modality].noun
        raise AuditError(f"{at}.batch_size: {batch_size} is more than the {len(source)} {noun}s of {source.name}.")
    return source, batch_size


def _opened(kind: type[Any], name: str, options: Mapping[str, Any], folder: Path, at: str) -> AnySource:
    chosen = _options(kind, options, at, extra=("source", "batch_size"))
    paths = {f.name: folder / value for f in fields(chosen) if isinstance(value := getattr(chosen, f.name), Path)}
    try:
        source: AnySource = replace(chosen, **paths).open()
    except OSError as error:  # not handled by any source: a name that is too long, no permission
        raise AuditError(f"{at}: cannot read {error.filename or name}: {error.strerror or error}.") from error
    except MemoryError as error:
        raise AuditError(f"{at}: {name} does not fit into the memory of this machine; audit a part of it.") from error
    return source


def _named(table: Mapping[str, T], name: Any, at: str, noun: str) -> T:
    """Return the entry of a table that the user named; raise `AuditError` with the known names if there is none."""
    if not isinstance(name, str) or name not in table:
        raise AuditError(f"{at}: unknown {noun} {as_name(name)}{suggest(as_name(name), table)}")
    return table[name]


def _options(cls: type[Any], options: Mapping[str, Any], at: str, extra: tuple[str, ...] = ()) -> Any:
    """Return a frozen dataclass from the keys of a section."""
    known = [f.name for f in fields(cls)]
    for key in options:
        if key not in known:
            raise AuditError(f"{at}.{key}: unknown key{suggest(str(key), [*extra, *known])}")
    return validated(cls, dict(options), f"{at}.")


def make_defense(entry: Mapping[str, Any], at: str) -> Defense:
    """Return the defense that an entry names; raise `AuditError` if the name or an option is wrong."""
    options = dict(entry)
    kind = _named(DEFENSES, options.pop("name", None), f"{at}.name", "defense")
    return _options(kind, options, at, extra=("name",))


def make_attack(entry: AttackEntry, folder: Path, at: str) -> Attack:
    """Return the attack that an entry names, of this package or from the user's file, with its start and changes.

    Raises:
        AuditError: A name is unknown, a file cannot be loaded or is missing, or the start or a changed field does not
            fit.
    """
    attack = ATTACKS.get(entry.name) or _own_attack(entry.name, folder, at)
    if entry.start is not None:
        attack = started_from(ATTACKS.get(entry.start) or _own_attack(entry.start, folder, f"{at}.start"), attack, at)
    names = constructors() if entry.set else {}
    for path, new in entry.set.items():
        attack = override(attack, path, new, names, at=at)
    _require_optimisers(attack, at)
    return located(attack, folder, at)


def _require_optimisers(attack: Attack, at: str) -> None:
    """Raise `AuditError` before the attack runs if an optimiser refuses its numbers, such as a negative rate."""
    for number, stage in enumerate(getattr(attack, "stages", ())):
        try:
            stage.optimiser.build([torch.zeros(1, requires_grad=True)], stage.steps, lambda seed: ((), ()))
        except (ValueError, ArithmeticError) as error:  # a factor to a power overflows
            reason = "its numbers are out of range" if isinstance(error, ArithmeticError) else error
            raise AuditError(f"{at}.stages.{number}.optimiser: {reason}.") from error


def _own_attack(name: str, folder: Path, at: str) -> Attack:
    if name in MULTI_MODAL:
        raise AuditError(
            f"{at}: {name} takes two updates of the same examples, and an audit shares one. Run `gradaudit study "
            "mgia`, or call it from Python (docs/multimodal.md)."
        )
    file, colon, attribute = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise AuditError(f"{at}: unknown attack {name}{suggest(name, ATTACKS)} Your own: file.py:ATTACK.")
    path = folder / file
    if not is_file(path):
        raise AuditError(f"{at}: no file {path} (paths are relative to the audit file).")
    with guarded(f"{at}: {name} cannot be loaded"):
        attack = getattr(module_of(path), attribute)
        whole = isinstance(attack, Attack) and isinstance(attack.name, str) and isinstance(attack.needs, Knowledge)
        _ = repr(attack)
    if not whole or isinstance(attack, type):
        raise AuditError(
            f"{at}: {name} is no attack: it needs name, needs (of gradaudit.Knowledge), and a call that takes (seen, "
            "seed=, watch=)."
        )
    return attack


def make_handling(config: AuditConfig, source: AnySource) -> tuple[Handling, tuple[int, ...]]:
    """Return how the source's examples are gathered and scored, and the shape of one example as the model takes it.

    Raises:
        AuditError: The images cannot be converted to the model's channels, or a key for images is given for text or
            rows.
    """
    kind, noun = kind_of(source.modality), MEASURES[source.modality].noun
    for other in HANDLINGS.values():
        for key in other.keys:
            if key not in kind.keys and getattr(config.model, key):
                raise AuditError(f"model.{key}: is for {other.modality}, but data holds {noun}s.")
    return kind.of(source, config.model)


def make_model(
    config: AuditConfig,
    source: AnySource,
    shape: tuple[int, ...],
    folder: Path,
    handling: Handling,
    defenses: Sequence[Defense] = (),
) -> tuple[nn.Module, int]:
    """Return the network and its number of classes, which is 0 if the labels of the loss are not classes.

    The weights are drawn from the seed or read from a file, which may be that of the model before or after the changes
    of the given defenses. The network has these changes.

    Raises:
        AuditError: The model cannot be built or loaded, or it does not fit the examples or labels of the source.
    """
    section, loss = config.model, make_loss(config.training.loss)
    _require_targets(source, loss)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if section.name is not None:
            model = handling.build(str(section.name), source, shape, _width(section, source, loss), section)
        else:
            model = models.from_factory(str(section.factory), folder)
    changed = changed_model(defenses, model)
    if section.weights is not None:
        changed = _with_weights(model, changed, folder / section.weights, defenses)
    model = changed
    classes = _classes(model, shape, source, loss)
    if not loss.classes:
        return model, 0
    if section.num_classes not in (None, classes):  # only possible for a factory, which does not get num_classes
        raise AuditError(f"model.num_classes: is {section.num_classes}, but the model has {classes} classes.")
    require_labels(source, classes)
    return model, classes


def _with_weights(model: nn.Module, changed: nn.Module, path: Path, defenses: Sequence[Defense]) -> nn.Module:
    """Return the changed model with the weights of a file that fits it, or fits the model before the changes."""
    if changed is not model:
        try:
            models.load_weights(changed, path)
            return changed
        except AuditError:
            pass  # the file is that of the model before the changes, or its error is raised below
    models.load_weights(model, path)
    return changed_model(defenses, model)


def require_labels(source: AnySource, classes: int, at: str = "data") -> None:
    """Raise `AuditError` if a label of the source is not one of the `classes` of the model."""
    highest = _highest_label(source, at)
    if highest >= classes:
        raise AuditError(
            f"{at}: {source.name} contains the label {highest}, but the model has {classes} classes, from 0 to "
            f"{classes - 1}. Fix the labels, or model.num_classes."
        )


def _highest_label(source: AnySource, at: str = "data") -> int:
    """Return the largest label of a source, or -1 if it has none. Raise `AuditError` if a label is negative."""
    if source.labels is None or not len(source.labels) or not is_classes(source.labels):
        return -1
    if int(source.labels.min()) < 0:
        raise AuditError(f"{at}: {source.name} contains the label {int(source.labels.min())}; labels count from 0.")
    return int(source.labels.max())


def _classes(model: nn.Module, shape: tuple[int, ...], source: AnySource, loss: Loss) -> int:
    """Return the number of classes of the model, after a check on one example that it returns what the loss needs."""
    if loss.inferable:
        return models.input_check(model, shape, torch.device("cpu"), source.modality)
    output = models.answer(model, shape, torch.device("cpu"), source.modality)
    loss.require_output(output, 1, "model")
    return loss.count(output)


def _require_targets(source: AnySource, loss: Loss) -> None:
    """Raise `AuditError` if the loss needs labels and the source has none, or needs classes and it has others."""
    if source.labels is None and not loss.classes:
        raise AuditError(
            f"data: {source.name} has no labels, and training.loss: {loss!r} needs some. Give an .npz with targets."
        )
    if source.labels is not None and loss.classes and not is_classes(source.labels):
        found = f"{str(source.labels.dtype).removeprefix('torch.')} {list(source.labels.shape)}"
        raise AuditError(
            f"data: the labels of {source.name} are not classes but {found}, and training.loss: {loss!r} takes "
            f"classes [N]. Choose another loss: {', '.join(name for name, kind in LOSSES.items() if not kind.classes)}."
        )


def is_classes(labels: torch.Tensor) -> bool:
    """Return whether the labels of a source are the class of each example, `[N]` integers."""
    return labels.ndim == 1 and not labels.is_floating_point()


def _width(section: ModelSection, source: AnySource, loss: Loss) -> int:
    """Return the number of outputs of a model that is built by name."""
    width = loss.width(source.labels)
    if width is not None:
        return section.num_classes or width
    known = len(source.class_names) or _highest_label(source) + 1
    if known > MOST_CLASSES and section.num_classes is None:
        raise AuditError(
            f"data: {source.name} contains the label {known - 1}, which would make a model of {known} classes. It "
            "looks like an id: fix the labels, or give model.num_classes."
        )
    if known == 1 and section.num_classes is None:
        raise AuditError(
            f"data: all labels of {source.name} are 0, one class, and a model of one class learns nothing from them. "
            "Fix the labels, or give model.num_classes."
        )
    return section.num_classes or known or 10


def make_training(section: TrainingSection) -> LocalTraining:
    """Return the client's local training."""
    return LocalTraining(loss=make_loss(section.loss), **section.model_dump(exclude={"kind", "loss"}))


def make_loss(entry: str | Mapping[str, Any] | None) -> Loss:
    """Return the loss that `training.loss` names, cross entropy by default; raise `AuditError` if it is unknown."""
    options = {"name": entry or "cross-entropy"} if entry is None or isinstance(entry, str) else dict(entry)
    kind = _named(LOSSES, options.pop("name", None), "training.loss", "loss")
    return _options(kind, options, "training.loss", extra=("name",))


def make_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is a GPU if there is one. Raise `AuditError` if it is not usable here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # a device such as meta makes tensors without values
    except (RuntimeError, AssertionError, ImportError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".!")
        raise AuditError(f"device: {name} cannot be used here: {reason}. Choose auto or cpu.") from error
    return device
