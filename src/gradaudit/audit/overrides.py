"""Changing one field of a frozen value by its dotted path: `stages.0.steps=2000`, checked against the value itself."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..values.characters import shortened
from ..values.errors import AuditError

T = TypeVar("T")

LONGEST = 20_000  # characters of a part's constructor; the longest attack of this package takes two thousand
LARGEST = 1_000_000_000  # a whole number beyond it, such as a count of steps, would end in years
BRIEF = 80


def override(value: T, path: str, new: Any, names: Mapping[str, type], *, at: str = "") -> T:
    """A copy of `value` in which the field at the dotted `path` is `new`.

    Args:
        value: A frozen dataclass, or a tuple of them.
        path: Fields and indices joined by dots.
        new: A plain value of the field's type, or for a part its constructor as text, such as `Cosine()`.
        names: Constructors that such a text may use.
        at: What to call `value` in an error.

    Raises:
        AuditError: A name, index or type that the value does not have, with those that it has; or a value that the
            part itself refuses.
    """
    name, _, rest = path.partition(".")
    here = f"{at}.{name}" if at else name
    if isinstance(value, tuple):
        index = place_in(len(value), name)
        if index is None:
            raise AuditError(f"{at}: no entry {as_name(name)}. It has {len(value)}, counted from 0.")
        entry = (
            override(value[index], rest, new, names, at=here) if rest else _read(type(value[index]), new, names, here)
        )
        return (*value[:index], entry, *value[index + 1 :])  # type: ignore[return-value]
    known = _settable(type(value))
    if name not in known:
        raise AuditError(f"{here}: {type(value).__name__} has no field {name}{suggest(name, known)}")
    if rest:
        entry = override(getattr(value, name), rest, new, names, at=here)
    else:
        entry = _read(get_type_hints(type(value))[name], new, names, here)
    return _refused_as(here, replace, value, **{name: entry})


def suggest(name: str, known: Iterable[str]) -> str:
    """`. Did you mean x? Known: a, b.` for an unknown name."""
    known = list(known)
    near = difflib.get_close_matches(name[:BRIEF], known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f".{hint} Known: {', '.join(known) or 'none'}."


def place_in(count: int, name: str) -> int | None:
    """The place, from 0, that `name` is in a list of `count` entries; `None` where it is none of them."""
    digits = name.isascii() and name.isdigit() and len(name) < 10
    return int(name) if digits and int(name) < count else None


def brief(value: Any) -> str:
    """A value as Python writes it, cut after 80 characters."""
    return shortened(repr(value), BRIEF)


def as_name(value: Any) -> str:
    """What stands where a name is wanted: text without quotes, all else as `brief` does; cut after 80 characters."""
    return shortened(value if isinstance(value, str) else repr(value), BRIEF)


def construct(text: str, names: Mapping[str, type], *, at: str = "") -> Any:
    """Evaluate `Name(field=literal, ...)`, nested and in tuples, with nothing else allowed.

    Args:
        text: An expression of Python.
        names: Dataclasses that it may name; their fields are checked as `override` checks them.
        at: What the value is for, in an error.

    Raises:
        AuditError: Any other expression, an unknown name or field, or a value that does not fit its field.
    """
    here = f"{at}: " if at else ""

    def build(node: ast.expr) -> Any:
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(map(build, node.elts))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in names:
                raise AuditError(f"{here}unknown part {node.func.id}{suggest(node.func.id, names)}")
            return _made(names[node.func.id], node, build, here)
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise ValueError("only numbers, text, lists and parts with their fields have a place in it") from None

    if len(text) > LONGEST:
        raise AuditError(f"{here}{brief(text)} is too long for a value, {len(text)} characters.")
    try:
        return build(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise AuditError(f"{here}cannot read {brief(text)} as a value: {_reason(error)}.") from error


def _made(cls: type, call: ast.Call, build: Callable[[ast.expr], Any], here: str) -> Any:
    """A dataclass from the arguments of a call, each checked against its field."""
    known = _settable(cls)
    at = f"{here}{cls.__name__}"
    if len(call.args) > len(known):
        raise AuditError(f"{at} takes at most {len(known)} values. Found {len(call.args)}.")
    given = [*zip(known, call.args, strict=False), *((keyword.arg, keyword.value) for keyword in call.keywords)]
    values: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for name, node in given:
        if name is None or isinstance(node, ast.Starred):
            raise AuditError(f"{at}: a star has no place in a part; write its fields out.")
        if name not in known:
            raise AuditError(f"{at} has no field {name}{suggest(name, known)}")
        if name in values:
            raise AuditError(f"{at}: gives {name} twice.")
        values[name] = _checked(hints[name], build(node), f"{at}.{name}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise AuditError(f"{at} needs {name}.")
    return _refused_as(at, cls, **values)


def _settable(cls: type) -> dict[str, Field[Any]]:
    """The fields that a dataclass is made of; none of what is no dataclass."""
    return {field.name: field for field in fields(cls) if field.init} if is_dataclass(cls) else {}


def _refused_as(at: str, make: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """What `make` returns; what it refuses, as an error that names `at`."""
    try:
        return make(*args, **fields)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise AuditError(f"{at}: {_reason(error)}.") from error


def _read(expected: Any, new: Any, names: Mapping[str, type], at: str) -> Any:
    """A field's value from what the user wrote: a part from its constructor, all else as it is."""
    written = isinstance(new, str) and expected is not str and new.rstrip().endswith(")")
    return _checked(expected, construct(new, names, at=at) if written else new, at)


def _checked(expected: Any, new: Any, at: str) -> Any:
    """`new`, where it is of the type that is expected; raises `AuditError` otherwise."""
    new = _frozen(new)
    _require_range(new, at)
    try:
        return TypeAdapter(
            expected, config=None if is_dataclass(expected) else {"arbitrary_types_allowed": True}
        ).validate_python(new, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].replace("Input should be", "should be")
        raise AuditError(f"{at}: {reason}. Found {brief(new)}.") from error


def _require_range(value: Any, at: str) -> None:
    """Raise `AuditError` for a number that is not finite, or a whole one beyond any count of steps."""
    if isinstance(value, tuple):
        for entry in value:
            _require_range(entry, at)
    elif (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) > LARGEST):
        raise AuditError(f"{at}: {brief(value)} is out of range.")


def _reason(error: BaseException) -> str:
    """Why, without a full stop, as Python says it."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text or "it is nested too deeply").rstrip(".")


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
