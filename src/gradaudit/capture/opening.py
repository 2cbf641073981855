"""Opening a captured update: its tensors, what its metadata says, and the weights from before the training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from ..models import build, from_factory
from ..values.errors import AuditError, printable
from ..values.files import is_file
from ..values.tensor_files import TensorFile, read_tensor_file
from .kinds import Direction, FileKind
from .observe import SHAPES, Settings
from .update_names import fits

KINDS = {**{str(kind): kind for kind in FileKind}, "difference": FileKind.WEIGHT_DIFFERENCE}
"""Name of a kind, as a user or the metadata of a file gives it -> the kind."""
LAYOUT = "1"  # version of the metadata that is understood


@dataclass(frozen=True)
class Stated:
    """What the metadata of a captured update says; an entry that it lacks is `None` or empty.

    Args:
        kind: Kind of the file.
        direction: Direction of a difference.
        round: Number of the round.
        node: Name of the client.
        examples: Number of examples that the client reported.
        before: Name of the file of the weights from before the training, in the same folder.
        before_sha256: SHA-256 of that file.
    """

    kind: FileKind | None = None
    direction: Direction | None = None
    round: str = ""
    node: str = ""
    examples: int | None = None
    before: str = ""
    before_sha256: str = ""

    @property
    def words(self) -> str:
        """The round and the client, such as `round 3 of client site-1`, or an empty string."""
        parts = (f"round {self.round}" if self.round else "", f"client {self.node}" if self.node else "")
        return printable(" of ".join(filter(None, parts)))


@dataclass(frozen=True, eq=False)
class OpenedUpdate:
    """A captured update whose file is read.

    Args:
        path: The file.
        file: Its tensors.
        stated: What its metadata says.
        before: File of the weights from before the training, if known.
    """

    path: Path
    file: TensorFile
    stated: Stated
    before: Path | None

    @property
    def name(self) -> str:
        """Printable name of the file."""
        return printable(self.file.name)

    @property
    def words(self) -> str:
        """The file in words, with its round and its client if they are known."""
        of = f" ({self.stated.words})" if self.stated.words else ""
        return f"the captured update {self.name}{of}"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return file_digest(self.path)

    def settings(self, given: Settings) -> Settings:
        """Return `given`, completed by what the metadata says."""
        kind = given.kind or self.stated.kind
        direction = self.stated.direction if kind is FileKind.WEIGHT_DIFFERENCE else None
        size = given.batch_size if given.batch_size is not None else self.stated.examples
        certain = self.before is not None and bool(self.stated.before_sha256)  # `open_update` has compared it
        return replace(given, kind=kind, batch_size=size, sign=given.sign or direction, same_round=certain)


def open_update(path: Path, before: Path | None = None, *, at: str = "--weights") -> OpenedUpdate:
    """Read a captured update, and find the weights from before the training.

    Args:
        path: A `.safetensors`, `.pt`, `.pth` or `.npz` file.
        before: File of the weights that the server sent; by default the one that the metadata names, if it is there.
        at: Name of the option `before` in errors.

    Raises:
        AuditError: The file cannot be read, its metadata is damaged, or `before` is not the file from which the update
            was computed.
    """
    file = read_tensor_file(path, "update")
    stated = stated_by(file.metadata, file.name)
    beside = path.parent / stated.before if stated.before else None
    chosen = before or (beside if beside is not None and is_file(beside) else None)
    if chosen is not None and stated.before_sha256 and file_digest(chosen) != stated.before_sha256:
        fix = f"Give {printable(stated.before)}" if stated.before else "Give the file of its own round"
        raise AuditError(
            f"{at}: {printable(chosen.name)} is not the file of weights that {printable(file.name)} was computed from "
            f"(the SHA-256 differs), so two rounds are mixed. {fix}."
        )
    return OpenedUpdate(path, file, stated, chosen)


def stated_by(metadata: Mapping[str, str], name: str) -> Stated:
    """Return what the metadata of the file `name` says; nothing if gradaudit did not write it.

    Raises:
        AuditError: An entry is not what it has to be.
    """
    if "gradaudit" not in metadata:
        return Stated()

    def wrong(key: str) -> AuditError:
        found = printable(metadata.get(key, ""))[:60]
        return AuditError(f"update: {printable(name)}: its metadata is damaged: {key} is {found}. Capture it again.")

    if metadata["gradaudit"] != LAYOUT:
        raise wrong("gradaudit")
    kind, direction = metadata.get("kind", ""), metadata.get("direction", "")
    examples, before = metadata.get("examples", ""), metadata.get("before", "")
    if kind and kind not in KINDS:
        raise wrong("kind")
    if direction and direction not in list(Direction):
        raise wrong("direction")
    if examples and not (examples.isascii() and examples.isdigit() and int(examples[:12]) > 0):
        raise wrong("examples")
    if before and (Path(before).name != before or "\\" in before):
        raise wrong("before")  # a path that leads out of the folder
    return Stated(
        kind=KINDS.get(kind),
        direction=Direction(direction) if direction else None,
        round=metadata.get("round", ""),
        node=metadata.get("node", ""),
        examples=int(examples[:12]) if examples else None,
        before=before,
        before_sha256=metadata.get("before_sha256", ""),
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file. Raise `AuditError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise AuditError(f"update: cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def model_for(
    file: TensorFile, name: str, classes: int, shape: tuple[int, ...] | None = None, *, cifar_stem: bool = False
) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the named model for the first input shape with which it fits the tensors of a file, and that shape.

    Args:
        file: The tensors.
        name: A model of this package or of torchvision.
        classes: Number of its classes.
        shape: The input shape, if known; by default `SHAPES` are tried, and the first is taken if none fits.
        cifar_stem: For torchvision's ResNets.

    Raises:
        AuditError: There is no such model.
    """
    shapes = (shape,) if shape else SHAPES
    for tried in (*shapes, shapes[0]):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found = build(name, num_classes=classes, channels=tried[0], size=tried[-1], cifar_stem=cifar_stem)
        if fits(found, file):
            return found, tried
    return found, shapes[0]


def model_of(factory: str, folder: Path, seed: int = 0) -> nn.Module:
    """Return the model of a factory, with weights from this seed where it draws some. Raises errors of the factory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return from_factory(factory, folder)
