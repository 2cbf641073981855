"""The user's own model, from a function in the user's code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..values.errors import AuditError, guarded
from ..values.files import is_file
from ..values.own_code import module_of

RAISED = " raised"


def from_factory(spec: str, folder: Path) -> nn.Module:
    """Return the model that the user's function returns when it is called without arguments.

    Args:
        spec: `package.module:function` or `path/file.py:function`, the path relative to `folder`. Modules in `folder`
            and the current folder can be imported while it runs.
        folder: The folder of the audit file.

    Returns:
        The model.

    Raises:
        AuditError: The spec is malformed, the module or the function does not exist, the user's code raised an
            exception, or the returned value is not an `nn.Module`, or it is a TorchScript module, has no parameters,
            or has a tensor that is not dense.
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
            raise AuditError(f"model: {attribute} in {place} is not a function but {_kind(factory)}.")
        with guarded(f"model: {spec}", RAISED):
            model = factory()
    if not isinstance(model, nn.Module):
        raise AuditError(f"model: {spec} returned {_kind(model)}, not a torch.nn.Module.")
    _require_ordinary(model, spec)
    return model


def _require_ordinary(model: nn.Module, spec: str) -> None:
    """Raise `AuditError` if torch can run the model, but not copy it, train it or differentiate it twice."""
    if not any(True for _ in model.parameters()):
        raise AuditError(f"model: {spec} returned a model without parameters, which learns nothing and shares nothing.")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise AuditError(f"model: {spec} returned a TorchScript model; return the module that it was made from.")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            layout = str(value.layout).removeprefix("torch.")
            found = "quantised" if value.is_quantized else "on the meta device" if value.is_meta else layout
            raise AuditError(f"model: {spec} returned a model whose {name} is {found}; return it dense.")


@contextmanager
def _importable(folders: list[str]) -> Iterator[None]:
    """Put `folders` in front of the import path inside the context."""
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
    with guarded(f"model: importing {name}", RAISED):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                raise AuditError(
                    f"model: no module {name} in the audit file's folder, the current folder or the installed packages."
                ) from error
            raise


def _from_file(path: Path) -> ModuleType:
    if not is_file(path):
        raise AuditError(f"model: no file at {path} (paths are relative to the audit file).")
    with guarded(f"model: running {path}", RAISED):
        return module_of(path)


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
