"""Dataclasses from JSON records with strict type checks."""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

Kind = TypeVar("Kind")
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float whose NaN is written as `null` in JSON."""


def checked(kind: type[Kind], record: Any) -> Kind:
    """Return a record of `json.loads` as a dataclass `kind`; unknown entries are ignored.

    Raises:
        ValueError: An entry is missing or has the wrong type; the message names it.
    """
    try:
        found: Kind = _adapter(kind).validate_json(json.dumps(record), strict=True)  # type: ignore[arg-type]
        return found
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def parsed(text: bytes | str) -> Any:
    """Return the value of a JSON text. Raise `ValueError` if it is malformed in any way."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def content_name(*facts: object) -> str:
    """Return a name of 16 hexadecimal digits that only the same facts have."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def _adapter(kind: type[Kind]) -> TypeAdapter[Kind]:
    return TypeAdapter(kind)
