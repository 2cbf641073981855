"""Values out of JSON records whose every type is checked, so that no later code meets a string for a number."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

Kind = TypeVar("Kind")
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float whose NaN is written as `null`, as JSON has no other way."""


def checked(kind: type[Kind], record: Any) -> Kind:
    """`record`, as `json.loads` gave it, as a dataclass `kind`; entries that it does not know are left out.

    Raises:
        ValueError: An entry is missing or of another type; the message names it.
    """
    try:
        found: Kind = _adapter(kind).validate_json(json.dumps(record), strict=True)  # type: ignore[arg-type]
        return found
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def parsed(text: bytes | str) -> Any:
    """What a JSON text holds; raises `ValueError` for what is none, however it is broken."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


@lru_cache(maxsize=16)
def _adapter(kind: type[Kind]) -> TypeAdapter[Kind]:
    return TypeAdapter(kind)
