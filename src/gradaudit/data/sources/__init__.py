"""Where the private examples of an audit come from: one file per source, or per family of sources."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from typing import Any

from ...values.discovery import Registry, kebab
from ._source import AnySource, Source, SourceOptions


def _name(value: Any) -> str | None:
    """Under its own `name`, or that of the class: a frozen dataclass of options that can be opened."""
    if not (inspect.isclass(value) and is_dataclass(value) and callable(getattr(value, "open", None))):
        return None
    return str(getattr(value, "name", None) or kebab(value.__name__))


SOURCES: Registry[type[SourceOptions]] = Registry(__name__, "gradaudit.sources", _name)
"""Name in the audit file (`data.source`) -> options, validated with pydantic and then opened."""

__getattr__ = SOURCES.attribute

__all__ = ["SOURCES", "AnySource", "Source", "SourceOptions"]
