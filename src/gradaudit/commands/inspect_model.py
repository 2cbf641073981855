"""`gradaudit inspect` without an update: the model that the command line names, and the shape of its examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..values.errors import AuditError

if TYPE_CHECKING:
    from torch import nn

    from ..values.types import Modality

ABOUT_UPDATES = ("--kind", "--learning-rate", "--local-steps", "--batch-norm", "--sign", "--out")
LENGTH = 16  # tokens of a text if no --input-shape is given
WORDS = "3 numbers for an image, such as 3x32x32, or one for the tokens of a text or the cells of a row"


@dataclass(frozen=True)
class ModelRequest:
    """What the command line says about a model.

    Args:
        model: A factory, or the name of a model.
        weights: File of its weights.
        input_shape: Shape of one example as text.
        classes: Number of classes of a named model.
        cifar_stem: For torchvision's ResNets.
        batch_size: Number of examples.
        data: A folder, a file, or the name of a source without options.
    """

    model: str
    weights: Path | None
    input_shape: str | None
    classes: int | None
    cifar_stem: bool
    batch_size: int | None
    data: str | None

    @property
    def named(self) -> bool:
        """Whether the model is given by name."""
        return ":" not in self.model

    @property
    def required_classes(self) -> int:
        """The number of classes. Raises `AuditError` if it is not given."""
        if self.classes is None:
            raise AuditError("--num-classes is required for a model that is given by name.")
        return self.classes


@dataclass(frozen=True, eq=False)
class Resolved:
    """The model, the shape and kind of its examples, and what was assumed about them."""

    model: nn.Module
    shape: tuple[int, ...]
    modality: Modality
    notes: tuple[str, ...] = ()


def require_no_update(*values: object) -> None:
    """Raise `AuditError` if one of the options that are about an update, in the order of `ABOUT_UPDATES`, is given."""
    for option, value in zip(ABOUT_UPDATES, values, strict=True):
        if value is not None:
            raise AuditError(f"{option}: is about a captured update, and none is given. Name its file, or omit it.")


def require_no_data(data: str | None, noise: str | None, received: Path | None, digests: list[str] | None) -> None:
    """Raise `AuditError` if an option that is about a model alone is given beside an update."""
    given = {"--data": data, "--noise": noise, "--received": received, "--client-digest": digests or None}
    for option, value in given.items():
        if value is not None:
            raise AuditError(f"{option}: is for the architecture alone. Leave out the update, or {option}.")


def shape_of(text: str | None, lengths: tuple[int, ...], words: str) -> tuple[int, ...] | None:
    """Return a shape such as `3,32,32` or `3x32x32` as numbers; raise `AuditError` for any other text."""
    if text is None:
        return None
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    if len(parts) not in lengths or not all(re.fullmatch("[1-9][0-9]{0,8}", part) for part in parts):
        raise AuditError(f"--input-shape: must be {words}. Found {text}.")
    return tuple(int(part) for part in parts)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside the context: on a busy machine, many small passes on several take far longer."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def resolve(asked: ModelRequest) -> Resolved:
    """Return the model with its weights, the shape of its examples, and what was assumed.

    Raises:
        AuditError: The batch size is out of range, the model has nothing to train, or it, the shape and the weights do
            not fit.
    """
    from ..inspection import require_trainable
    from ..models import load_weights

    if asked.batch_size is not None and not 1 <= asked.batch_size <= 1_000_000:
        raise AuditError(f"--batch-size: must be from 1 to 1000000. Found {asked.batch_size}.")
    found = _unloaded(asked)
    require_trainable(found.model)
    if asked.weights is not None:
        load_weights(found.model, asked.weights)
    return found


def _unloaded(asked: ModelRequest) -> Resolved:
    """Return the model with the weights of its function, and what `resolve` returns of it."""
    from ..capture.opening import model_of

    shape = shape_of(asked.input_shape, (1, 2, 3, 4), WORDS)
    if asked.named:
        return _by_name(asked, shape)
    model = model_of(asked.model, Path.cwd())
    notes: tuple[str, ...] = ()
    if shape is None:
        shape, notes = _guessed(model)
    return Resolved(model, shape, _modality_of(model, shape), notes)


def _by_name(asked: ModelRequest, shape: tuple[int, ...] | None) -> Resolved:
    import torch

    from ..capture.observe import SHAPES
    from ..models import NAMED_MODELS
    from ..values.types import Modality

    known = NAMED_MODELS.get(asked.model)
    modality = known.modality if known else Modality.PICTURES
    usual = shape or {Modality.PICTURES: SHAPES[0], Modality.TEXT: (LENGTH,)}.get(modality)
    if usual is None:
        raise AuditError(f"--input-shape is required for {asked.model}, such as the number of cells of an encoded row.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = _built(asked, modality, usual)
    notes = () if shape else (f"Input shape {by(usual)} was assumed; --input-shape changes it.",)
    return Resolved(built, usual, modality, notes)


def _built(asked: ModelRequest, modality: Modality, shape: tuple[int, ...]) -> nn.Module:
    """Return a named model for examples of this shape; raise `AuditError` if it takes another one."""
    from ..data.sources.texts import Texts
    from ..models import build, build_for, build_text
    from ..values.types import Modality

    classes = asked.required_classes
    if modality is Modality.PICTURES:
        if len(shape) != 3 or shape[1] != shape[2]:
            raise AuditError(f"--input-shape: {asked.model} takes square images, such as 3x32x32. Found {by(shape)}.")
        stem = asked.cifar_stem
        return build(asked.model, num_classes=classes, channels=shape[0], size=shape[1], cifar_stem=stem)
    if modality in (Modality.TEXT, Modality.TABLE) and len(shape) != 1:
        raise AuditError(f"--input-shape: {asked.model} takes one number, such as 16. Found {by(shape)}.")
    if modality is Modality.TEXT:
        texts = Texts() if asked.data in (None, Texts.name) else Texts(Path(asked.data))
        return build_text(asked.model, num_classes=classes, layout=texts.open().vocabulary.layout, length=shape[0])
    return build_for(modality, asked.model, classes, *shape)


def _guessed(model: nn.Module) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the first usual shape that a model takes, and a note; raise `AuditError` if it takes none."""
    from ..capture.observe import SHAPES
    from ..models import DoesNotTake, answer

    for shape in SHAPES:
        try:
            answer(model, shape, "cpu")
        except DoesNotTake:
            continue
        return shape, (f"Input shape {by(shape)} is the first that the model takes; --input-shape changes it.",)
    tried = ", ".join(map(by, SHAPES))
    raise AuditError(f"model: it takes no image of shape {tried}. Give --input-shape: {WORDS}.")


def _modality_of(model: nn.Module, shape: tuple[int, ...]) -> Modality:
    """Return the kind of the examples: text if the shape is one number and an embedding takes the tokens."""
    from torch import nn

    from ..models import DoesNotTake, answer
    from ..values.types import Modality

    if len(shape) != 1:
        return Modality.PICTURES
    if any(isinstance(module, nn.Embedding) for module in model.modules()):
        try:
            answer(model, shape, "cpu", Modality.TEXT)
        except DoesNotTake:
            return Modality.TABLE
        return Modality.TEXT
    return Modality.TABLE


def by(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as `3x32x32`."""
    return "x".join(map(str, shape))
