"""The files of trained networks that an attack names: found beside the audit file, and opened before anything runs."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..attacks.lti import LearningToInvert
from ..models.trained import TrainedNetwork
from ..values.errors import AuditError
from ..values.files import is_file

T = TypeVar("T")


def located(value: T, folder: Path, at: str) -> T:
    """Return an attack whose trained networks are looked for beside the audit file, and check that they are there.

    Args:
        value: An attack, or any part of one.
        folder: The folder of the audit file.
        at: Name of the attack in errors.

    Raises:
        AuditError: A file is missing, damaged or of another kind; the message says which command makes one.
    """
    if isinstance(value, TrainedNetwork):
        is_file_name = bool(Path(value.source).suffix)
        found = replace(value, source=_beside(value.source, folder)) if is_file_name else value
        try:
            found.asset()
        except AuditError as error:
            raise AuditError(f"{at}: {error}") from error
        return found
    if isinstance(value, LearningToInvert) and value.trained:
        beside = _beside(value.trained, folder)
        if not is_file(Path(beside)):
            raise AuditError(f"{at}: trained: no file at {beside}. `gradaudit train inverter` makes one.")
        return replace(value, trained=beside)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        entries = tuple(located(entry, folder, at) for entry in value)
        same = all(new is old for new, old in zip(entries, value, strict=True))
        return value if same else entries  # type: ignore[return-value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {}
    for field in fields(value):
        old: Any = getattr(value, field.name)
        new = located(old, folder, at)
        if new is not old:
            changed[field.name] = new
    return replace(value, **changed) if changed else value


def _beside(source: str, folder: Path) -> str:
    """Return a path relative to `folder` as one that is relative to the working directory if it lies in it."""
    whole, here = (folder / source).absolute(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)
