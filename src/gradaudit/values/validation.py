"""Checks of values against the annotations of their fields, with the same rules in Python and in an audit file.

Types are strict: a number or a text is not accepted as a boolean, but a whole number is accepted as a float. A range
is part of the annotation (`Count`, `Fraction`, ...).
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

LARGEST_INTEGER = 1_000_000_000  # a larger whole number, such as a count of steps, would take years
BRIEF = 80
_MADE: WeakKeyDictionary[type, dict[str, TypeAdapter[Any]]] = WeakKeyDictionary()


class Checked:
    """The base class of the parts of an attack: a frozen dataclass whose fields are checked when it is created.

    Raises:
        AttackFailed: A field has a wrong type or is out of range; see `require_fields`.
    """

    def __post_init__(self) -> None:
        try:
            require_fields(self)
        except AuditError as error:
            raise AttackFailed(str(error)) from error


def require_fields(value: Any) -> None:
    """Check every field of a frozen dataclass against its annotation, and convert lists to tuples.

    A field whose annotation cannot be evaluated is not checked.

    Raises:
        AuditError: A field has a value of a wrong type or out of range; the message names the class, the field, the
            allowed values and the value found.
    """
    cls = type(value)
    for name, adapter in _adapters(cls).items():
        given = getattr(value, name)
        frozen = as_tuples(given)
        if frozen is not given:
            object.__setattr__(value, name, frozen)
        _require(adapter, frozen, f"{cls.__name__}.{name}")


def fitted(expected: Any, new: Any, at: str) -> Any:
    """Return `new` as a value of the annotation `expected`; raise an `AuditError` that begins with `at` otherwise."""
    return _require(_adapter(expected), as_tuples(new), at)


def settable(cls: type) -> dict[str, Field[Any]]:
    """Return the fields of a dataclass that its constructor takes; none if `cls` is not a dataclass."""
    return {field.name: field for field in fields(cls) if field.init} if is_dataclass(cls) else {}


def annotations_of(cls: type) -> Mapping[str, Any]:
    """Return name -> annotation of a class and its base classes, with ranges."""
    return get_type_hints(cls, include_extras=True)


def as_tuples(value: Any) -> Any:
    """Return `value` with every list in it converted to a tuple; the same object if there is no list."""
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
    """Return the `repr` of a value, cut after 80 characters."""
    return shortened(repr(value), BRIEF)


def as_name(value: Any) -> str:
    """Return a value given as a name for an error message: text without quotes, anything else as `brief` does."""
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
    """Raise `AuditError` if a number is not finite, or a whole number is larger than any sensible count of steps."""
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
    """Return name of a field -> the adapter that checks it, created once for each class."""
    if cls not in _MADE:
        _MADE[cls] = _make_adapters(cls)
    return _MADE[cls]


def _make_adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    try:
        hints = annotations_of(cls)
    except NameError:  # raised for a class inside a function whose annotations name local classes
        return {}
    found = {}
    for name in settable(cls):
        try:
            found[name] = _adapter(hints[name])
        except (PydanticSchemaGenerationError, PydanticUserError):  # an annotation that pydantic does not support
            continue
    return found
