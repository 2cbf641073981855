"""The user's own model, from a function of the user's own code."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..errors import AuditError
from ._causes import in_one_line


def from_factory(spec: str, folder: Path) -> nn.Module:
    """What the user's function returns when it is called without arguments.

    Args:
        spec: `package.module:function` or `path/file.py:function`, the path relative to `folder`. `folder` and the
            current folder are importable while it runs.
        folder: Where the audit file lies.

    Returns:
        The model.

    Raises:
        AuditError: The spec is malformed, the module or the function does not exist, the user's code raised, or what
            came back is no `nn.Module`.
    """
    place, colon, attribute = spec.rpartition(":")
    if not colon or not place or not attribute.isidentifier():
        raise AuditError(f"model: {spec!r} must be package.module:function or path/file.py:function.")
    from_file = place.endswith(".py")
    search = [str(folder.resolve()), str(Path.cwd())]
    if from_file:
        search.insert(0, str((folder / place).resolve().parent))
    with _importable(search):
        module = _from_file(folder / place) if from_file else _from_name(place, search)
        factory = getattr(module, attribute, None)
        if factory is None:
            raise AuditError(f"model: {place} has no {attribute}.")
        if not callable(factory):
            raise AuditError(f"model: {attribute} in {place} is no function but {_kind(factory)}.")
        try:
            model = factory()
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise AuditError(f"model: {spec} raised {in_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise AuditError(f"model: {spec} returned {_kind(model)}, not a torch.nn.Module.")
    return model


@contextmanager
def _importable(folders: list[str]) -> Iterator[None]:
    """`folders` in front of the import path."""
    before = list(sys.path)
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _from_name(name: str, search: list[str]) -> ModuleType:
    top = name.partition(".")[0]
    loaded, found = sys.modules.get(top), PathFinder.find_spec(top, search)
    origin = getattr(loaded, "__file__", None)
    if found is not None and found.origin and origin and Path(found.origin).resolve() != Path(origin).resolve():
        raise AuditError(f"model: {top} of {Path(found.origin).parent} is hidden by {origin}; rename it.")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise AuditError(
                f"model: no module {name} in the audit file's folder, the current folder or the installed packages."
            ) from error
        raise AuditError(f"model: importing {name} raised {in_one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise AuditError(f"model: importing {name} raised {in_one_line(error)}") from error


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_gradaudit_factory_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise AuditError(f"model: no file at {path} (paths are relative to the audit file).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise AuditError(f"model: running {path} raised {in_one_line(error)}") from error
    return module


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
