"""Sources of the private examples of an audit: one file for each source or family of sources."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from typing import Any

from ...values.discovery import Registry, kebab
from ._source import AnySource, Source, SourceOptions


def _name(value: Any) -> str | None:
    """Return the name of a source: the `name` of a dataclass with `open`, or the name of the class."""
    if not (inspect.isclass(value) and is_dataclass(value) and callable(getattr(value, "open", None))):
        return None
    return str(getattr(value, "name", None) or kebab(value.__name__))


SOURCES: Registry[type[SourceOptions]] = Registry(__name__, "gradaudit.sources", _name)
"""Name in the audit file (`data.source`) -> options, validated with pydantic and then opened."""

__getattr__ = SOURCES.attribute

__all__ = ["SOURCES", "AnySource", "Source", "SourceOptions"]
