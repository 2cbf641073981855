"""Trained networks that an attack may use, such as a generator: files with weights and how they were made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ..values.errors import AttackFailed, AuditError
from ..values.files import is_file, write_whole
from ..values.tensor_files import ENDINGS, read_tensor_file

FOLDER = "GRADAUDIT_ASSETS"
SHIPPED = Path(__file__).with_name("weights")
KEY = "gradaudit"


@dataclass(frozen=True, eq=False)
class Asset:
    """The contents of a file that `gradaudit train` wrote, or of another file of weights.

    Args:
        source: The name or path that it was opened by.
        kind: What it is: `generator`, `auto-encoder`, `denoiser` or `inverter`; empty if the file does not say.
        architecture: Name of the architecture; empty if the file does not say.
        settings: Arguments of the architecture.
        facts: How it was trained: data, steps, seed, seconds and the score on held-out data, as far as the file says.
        state: Name -> tensor, in the order of the file.
        digest: The SHA-256 of the file.
    """

    source: str
    kind: str
    architecture: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    state: Mapping[str, Tensor] = field(repr=False)
    digest: str = ""


def save_asset(
    path: Path,
    kind: str,
    architecture: str,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    state: Mapping[str, Tensor],
) -> None:
    """Write an asset as `.safetensors`, whole or not at all. Raise `AuditError` if that fails."""
    said = {"kind": kind, "architecture": architecture, "settings": dict(settings), "facts": dict(facts)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write_whole(path, save(tensors, {KEY: json.dumps(said)}))


def open_asset(source: str, kind: str) -> Asset:
    """Return the asset of a name or a path.

    A name, such as `fashion-dcgan`, is searched for among the assets of this package and then in the folder that the
    environment variable GRADAUDIT_ASSETS names; a path ends in `.safetensors`, `.pt`, `.pth` or `.npz`.

    Args:
        source: The name or path.
        kind: What the caller needs, as in `Asset`.

    Raises:
        AttackFailed: There is no such file, it cannot be read, or it is of another kind.
    """
    path = _path(source, kind)
    facts = path.stat()
    try:
        found = _read(source, path, facts.st_size, facts.st_mtime_ns)
    except AuditError as error:
        raise AttackFailed(str(error)) from error
    if found.kind and found.kind != kind:
        raise AttackFailed(f"{source} is of the kind {found.kind}, not {kind}. Give a {kind}.")
    return found


def described(path: Path) -> Mapping[str, Any]:
    """Return how the asset in a file was trained, as far as it says. Raise `AuditError` if the file is damaged."""
    facts = path.stat()
    return _read(str(path), path, facts.st_size, facts.st_mtime_ns).facts


def _path(source: str, kind: str) -> Path:
    if Path(source).suffix:
        if is_file(Path(source)):
            return Path(source)
        raise AttackFailed(
            f"{kind}: no file at {source}. `gradaudit train {kind} --data DATA --out {source}` makes one from images."
        )
    named = os.environ.get(FOLDER)
    folders = [SHIPPED, *([Path(named).expanduser()] if named else [])]
    for path in (folder / f"{source}{ending}" for folder in folders for ending in ENDINGS):
        if is_file(path):
            return path
    shipped = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.safetensors"))) or "none"
    raise AttackFailed(
        f"{kind}: there is no {source} in this package (it has {shipped})"
        f"{f' or in {named}' if named else ''}. Give the path of a file, or a name in the folder that {FOLDER} names; "
        f"`gradaudit train {kind} --data DATA --out FILE` makes a file from images."
    )


@cache
def _read(source: str, path: Path, size: int, modified: int) -> Asset:
    """Return the contents of a file; a new `size` or `modified` makes the cache read it again."""
    file = read_tensor_file(path, "weights")
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    said = _said(file.metadata, path)
    state = {name: value for name, value in file.tensors.items() if value is not None}
    return Asset(
        source,
        str(said.get("kind", "")),
        str(said.get("architecture", "")),
        said.get("settings", {}),
        said.get("facts", {}),
        state,
        digest,
    )


def _said(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        said = json.loads(metadata.get(KEY, "{}"))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not all(isinstance(said.get(key, {}), dict) for key in ("settings", "facts")):
        raise AuditError(f"weights: the description in {path.name} is damaged. Make the file again.")
    return said
