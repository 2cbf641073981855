"""What is known of a captured update: from its file, its metadata, the audit file, and the private examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..capture import Captured, Direction, Settings, agreed_steps, capture, input_shape
from ..capture.opening import KINDS, OpenedUpdate, Stated, model_for, model_of, open_update
from ..data.sources import AnySource
from ..data.sources._source import Source
from ..protocol.local_training import LocalTraining
from ..values.errors import AuditError, printable
from ..values.measures import MEASURES
from ..values.tensor_files import listed
from ..values.types import Knowledge, Modality, UpdateKind
from .config import AuditConfig, UpdateSection
from .plan import labels_at
from .resolve import make_loss

OPTIONS = {
    "--weights": "update.before",
    "--kind": "update.kind",
    "--sign": "update.sign",
    "--batch-size": "update.batch_size",
    "--input-shape C,H,W": "update.input_shape: [C, H, W]",
    "--input-shape": "update.input_shape",
    "--learning-rate": "training.learning_rate",
    "--local-steps": "training.epochs",
    "--batch-norm": "training.batch_norm",
}
"""Option of `gradaudit inspect` -> key of the audit file."""
DRAWN = (1, 3)  # numbers of channels that an image of the page can have


def section_of(config: AuditConfig) -> UpdateSection:
    """Return `update:` of an audit file that has it."""
    assert config.update is not None
    return config.update


def in_words_of_the_file(text: str) -> str:
    """Return a sentence about options of `gradaudit inspect` as one about keys of the audit file."""
    pattern = "|".join(map(re.escape, sorted(OPTIONS, key=len, reverse=True)))
    return re.sub(pattern, lambda found: OPTIONS[found.group()], text)


@contextmanager
def in_this_file() -> Iterator[None]:
    """Name keys of the audit file instead of options in an `AuditError` that is raised inside."""
    try:
        yield
    except AuditError as error:
        told = in_words_of_the_file(str(error))
        if told == str(error):
            raise
        raise AuditError(told) from error


def require_single(config: AuditConfig) -> None:
    """Raise `AuditError` if the audit file asks for several clients or batches, of which a file has one."""
    for key, value in (("clients", config.clients), ("rounds", config.rounds), ("repeats", config.repeats)):
        if value != 1:
            raise AuditError(
                f"{key}: {value} does not apply to update, which is one update of one batch. Remove {key}."
            )


def open_section(config: AuditConfig, folder: Path) -> OpenedUpdate:
    """Return the captured update with the weights from before the training, from wherever they are known.

    Raises:
        AuditError: A file cannot be read, both keys name the weights, or they are those of another round.
    """
    section, weights = section_of(config), config.model.weights
    if section.before is not None and weights is not None:
        raise AuditError("model.weights: update.before already names the weights that the server sent. Give one.")
    at, before = ("model.weights", weights) if section.before is None else ("update.before", section.before)
    return open_update(folder / section.path, None if before is None else folder / before, at=at)


def with_weights(config: AuditConfig, opened: OpenedUpdate) -> tuple[AuditConfig, tuple[str, ...]]:
    """Return the audit file with the weights from before the training, and a warning if nothing names them.

    Raises:
        AuditError: They are missing, and the model cannot have them by itself.
    """
    if opened.before is not None:
        model = config.model.model_copy(update={"weights": opened.before.resolve()})
        return config.model_copy(update={"model": model}), ()
    stated, kind = opened.stated, KINDS.get(section_of(config).kind)
    whole = (kind or stated.kind) is KINDS["weights"]
    if whole or config.model.factory is None:
        own = f"{config.model.name} drawn from the seed is another model" if config.model.name else "it holds weights"
        named = f" ({printable(stated.before)}, by its metadata)" if stated.before else ""
        raise AuditError(
            f"update.before: is missing. {opened.name} was computed from the weights that the server sent, and {own}: "
            f"name their file{named}."
        )
    return config, (
        "Neither update.before nor model.weights names the weights that the server sent, so those that "
        f"{config.model.factory} returns were taken. With other weights no attack works.",
    )


def blank_source(config: AuditConfig, opened: OpenedUpdate, folder: Path) -> Source:
    """Return a source of one grey image of the shape that the model takes, where there is no ground truth.

    Raises:
        AuditError: The shape or the number of classes is not known.
    """
    section, model = section_of(config), config.model
    shape: tuple[int, ...] | None = section.input_shape
    with in_this_file():
        if model.name is not None and model.num_classes is None:
            raise AuditError(f"model.num_classes: is missing. Without data, nothing says how many {model.name} has.")
        if model.name is not None:
            classes = model.num_classes or 2
            shape = model_for(opened.file, model.name, classes, shape, cifar_stem=model.cifar_stem)[1]
        elif shape is None:
            shape = input_shape(model_of(str(model.factory), folder, config.seed))
    if shape is None or shape[0] not in DRAWN:
        raise AuditError(f"update.input_shape: an image has 1 or 3 channels. Found {shape and shape[0]}.")
    return Source("update", "", [torch.full(shape, 0.5)])


def known_size(config: AuditConfig, stated: Stated, source: AnySource | None) -> tuple[int | None, tuple[str, ...]]:
    """Return the number of examples of the update, if anything says it, and a warning if the client said another one.

    Raises:
        AuditError: Two keys contradict each other, or there are fewer private examples.
    """
    section, labels = section_of(config), section_of(config).labels
    given = {
        "update.batch_size": section.batch_size,
        "update.labels": labels and len(labels),
        "data.batch_size": config.data.get("batch_size"),
    }
    said = [(key, number) for key, number in given.items() if number is not None]
    for key, number in said[1:]:
        if number != said[0][1]:
            raise AuditError(f"{said[0][0]}: {said[0][1]} examples contradict {key}, which are {number}. Correct one.")
    size = said[0][1] if said else stated.examples or (None if source is None else len(source))
    if source is not None and size is not None and size > len(source):
        noun = MEASURES[source.modality].noun
        raise AuditError(
            f"data: holds {len(source)} {noun}s, but the update is of {size} examples ("
            f"{said[0][0] if said else 'its metadata'}). Give all of them in the order of the batch, or none."
        )
    if stated.examples in (None, size):
        return size, ()
    return size, (f"The client reported {stated.examples} examples, but this audit assumes {size}.",)


def known_labels(config: AuditConfig, source: AnySource | None, size: int | None, classes: int) -> Tensor | None:
    """Return the labels of the update's examples, if anything says them.

    Raises:
        AuditError: A label is no class of the model, or `update.labels` differ from the labels of the examples.
    """
    named = section_of(config).labels
    own = None
    if source is not None and source.labels is not None:
        own = labels_at(source.labels, list(range(size or 0)))
    if named is None:
        return own
    if not classes or max(named) >= classes:
        rule = (
            f"must be classes of the model, below {classes}" if classes else "are classes, but training.loss has none"
        )
        raise AuditError(f"update.labels: {rule}. Found {max(named)}.")
    found = torch.tensor(named)
    if own is not None and not torch.equal(own, found):
        raise AuditError(
            f"update.labels: differ from the labels of data, {listed(map(str, own.tolist()))}. Remove update.labels, "
            "or give the examples in the order of the batch."
        )
    return found


def read_captured(
    config: AuditConfig,
    opened: OpenedUpdate,
    model: nn.Module,
    training: LocalTraining,
    examples: tuple[tuple[int, ...], int | None, Modality],
) -> tuple[Captured, tuple[str, ...]]:
    """Return the update beside its model, and warnings where the file contradicts the declared training.

    Args:
        config: The audit file.
        opened: The file of the update.
        model: The model with the weights from before the training.
        training: The declared local training.
        examples: Shape of one example, number of examples if known, and their kind.

    Raises:
        AuditError: The file does not fit the model, holds nothing, or its kind or sign is unclear or contradicts the
            training.
    """
    section, (shape, size, modality) = section_of(config), examples
    differs = training.kind is UpdateKind.WEIGHT_DIFFERENCE
    given = Settings(
        kind=KINDS.get(section.kind),
        batch_size=size,
        learning_rate=training.learning_rate if differs else None,
        input_shape=shape,
        batch_norm=training.batch_norm,
        sign=None if section.sign is None else Direction(section.sign),
        loss=make_loss(config.training.loss),
        modality=modality,
    )
    with in_this_file():
        found = capture(model, opened.file, opened.settings(given))
    if found.empty:
        raise AuditError(f"update: {opened.name} holds nothing to attack: {found.empty}.")
    if found.undirected:
        raise AuditError(f"update.sign: {in_words_of_the_file(found.undirected)}.")
    return found, tuple(_contradictions(config, found, training, size))


def _contradictions(config: AuditConfig, found: Captured, training: LocalTraining, size: int | None) -> Iterator[str]:
    """Yield a warning for each fact of the file that the declared training contradicts."""
    kind = found.observation.update.kind
    if kind is UpdateKind.WEIGHT_DIFFERENCE and training.kind is not kind:
        if training.update is not None:
            raise AuditError("training.update: says gradient, but the file holds weights or their difference.")
        if Knowledge.LOCAL_TRAINING in config.granted:
            raise AuditError(
                "training.learning_rate: knowledge grants LOCAL_TRAINING, and the file holds weights or their "
                "difference. Give training: {kind: fedavg, learning_rate: ...}."
            )
        yield (
            "The file holds weights or their difference, but training says no learning rate: the adversary takes the "
            "difference for the gradient of one step, of another length."
        )
    counted, moved = agreed_steps(found.movements), any(entry.shift > 0 for entry in found.movements)
    if moved and training.batch_norm == "eval":
        yield "The buffers of BatchNorm changed, so the client trained with batch_norm: train. training says eval."
    if counted and size and training.learning_rate is not None and training.steps(size) != counted:
        yield (
            f"The step counters of BatchNorm show {counted} local steps, but training describes "
            f"{training.steps(size)} for {size} examples."
        )


def require_known(
    config: AuditConfig, size: int | None, labels: Tensor | None, source: AnySource | None, found: Captured
) -> None:
    """Raise `AuditError` that names the key if knowledge grants a fact that nothing says."""
    statistics = source is not None or found.observation.batch_statistics is not None
    lacking = {
        Knowledge.BATCH_SIZE: (size is None, "update.batch_size", "how many examples the update is of"),
        Knowledge.LABELS: (labels is None, "update.labels", "the labels of its examples"),
        Knowledge.BATCH_STATISTICS: (not statistics, "data", "the statistics of the batch"),
        Knowledge.IMAGE_STATISTICS: (source is None, "data", "the channel means and edges of the private images"),
    }
    for flag, (unknown, key, fact) in lacking.items():
        if unknown and flag in config.granted:
            raise AuditError(
                f"{key}: is missing. knowledge grants {flag.name}, but neither the captured file nor data says {fact}. "
                f"Give {key}, or grant less."
            )


def notes_on(found: Captured) -> tuple[str, ...]:
    """Return the sentences on how the file was interpreted, in words of the audit file."""
    absent = (f"Not in the file, so not compared: {listed(found.unshared)}.",) if found.unshared else ()
    return (*map(in_words_of_the_file, found.notes), *absent)
