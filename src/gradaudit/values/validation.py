"""Values checked against the annotations of their fields, in Python and in an audit file by the same rules.

A number is no truth value, and neither is a text; a whole number may stand for a float. A range is part of the
annotation (`Count`, `Fraction`, ...).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Annotated, Any, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic import Field as Range
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from .characters import shortened
from .errors import AttackFailed, AuditError

Count = Annotated[int, Range(ge=1)]
"""A whole number of at least 1."""
Positive = Annotated[float, Range(gt=0)]
"""A number above 0."""
NonNegative = Annotated[float, Range(ge=0)]
"""A number of at least 0."""
Fraction = Annotated[float, Range(ge=0, le=1)]
"""A number in [0, 1]."""
Decay = Annotated[float, Range(ge=0, lt=1)]
"""A number in [0, 1), such as a momentum."""

LARGEST_INTEGER = 1_000_000_000  # a whole number beyond it, such as a count of steps, would end in years
BRIEF = 80
_MADE: WeakKeyDictionary[type, dict[str, TypeAdapter[Any]]] = WeakKeyDictionary()


class Checked:
    """A building block of an attack: a frozen dataclass whose fields are checked when one is made.

    Raises:
        AttackFailed: As `require_fields`.
    """

    def __post_init__(self) -> None:
        try:
            require_fields(self)
        except AuditError as error:
            raise AttackFailed(str(error)) from error


def require_fields(value: Any) -> None:
    """Check every field of a frozen dataclass against its annotation. Lists become tuples.

    A field whose annotation cannot be evaluated where the class was defined is left alone.

    Raises:
        AuditError: A field holds a value of another type or outside its range; the message names the class, the field,
            what is allowed and what was found.
    """
    cls = type(value)
    for name, adapter in _adapters(cls).items():
        given = getattr(value, name)
        frozen = as_tuples(given)
        if frozen is not given:
            object.__setattr__(value, name, frozen)
        _require(adapter, frozen, f"{cls.__name__}.{name}")


def fitted(expected: Any, new: Any, at: str) -> Any:
    """Return `new` as a value of the annotation `expected`; raise `AuditError` that begins with `at` otherwise."""
    return _require(_adapter(expected), as_tuples(new), at)


def settable(cls: type) -> dict[str, Field[Any]]:
    """Return the fields that a dataclass is made of; none of what is no dataclass."""
    return {field.name: field for field in fields(cls) if field.init} if is_dataclass(cls) else {}


def annotations_of(cls: type) -> Mapping[str, Any]:
    """Return name -> annotation of a class and those it inherits from, ranges included."""
    return get_type_hints(cls, include_extras=True)


def as_tuples(value: Any) -> Any:
    """Return `value` with every list in it as a tuple; the value itself where there is none."""
    if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return value
    entries = tuple(map(as_tuples, value))
    changed = isinstance(value, list) or any(a is not b for a, b in zip(entries, value, strict=True))
    return entries if changed else value


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `. Did you mean x? Known: a, b.` for an unknown name."""
    known = list(known)
    near = difflib.get_close_matches(name[:BRIEF], known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f".{hint} Known: {', '.join(known) or 'none'}."


def brief(value: Any) -> str:
    """Return a value as Python writes it, cut after 80 characters."""
    return shortened(repr(value), BRIEF)


def as_name(value: Any) -> str:
    """Return what stands where a name is wanted: text without quotes, all else as `brief` does."""
    return shortened(value if isinstance(value, str) else repr(value), BRIEF)


def _require(adapter: TypeAdapter[Any], new: Any, at: str) -> Any:
    _require_range(new, at)
    try:
        return adapter.validate_python(new, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        reason = problem["msg"].replace("Input should be", "should be")
        raise AuditError(f"{at}: {reason}. Found {brief(new)}.") from error


def _require_range(value: Any, at: str) -> None:
    """Raise `AuditError` for a number that is not finite, or a whole one beyond any count of steps."""
    if isinstance(value, tuple):
        for entry in value:
            _require_range(entry, at)
        return
    endless = isinstance(value, float) and not math.isfinite(value)
    if endless or (isinstance(value, int) and abs(value) > LARGEST_INTEGER):
        raise AuditError(f"{at}: {brief(value)} is out of range.")


def _adapter(expected: Any) -> TypeAdapter[Any]:
    config = None if is_dataclass(expected) else ConfigDict(arbitrary_types_allowed=True)
    return TypeAdapter(expected, config=config)


def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    """Name of a field -> what checks it, made once for each class."""
    if cls not in _MADE:
        _MADE[cls] = _make_adapters(cls)
    return _MADE[cls]


def _make_adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    try:
        hints = annotations_of(cls)
    except NameError:  # of a class inside a function, whose annotations name its neighbours
        return {}
    found = {}
    for name in settable(cls):
        try:
            found[name] = _adapter(hints[name])
        except (PydanticSchemaGenerationError, PydanticUserError):  # a kind of annotation that pydantic cannot take
            continue
    return found
