"""Changing one field of a frozen value by its dotted path: `stages.0.steps=2000`, checked against the value itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import MISSING, replace
from typing import Any, TypeVar, get_args, get_origin

from ..values.errors import AuditError
from ..values.validation import annotations_of, as_name, brief, fitted, settable, suggest

T = TypeVar("T")

LONGEST = 20_000  # characters of a part's constructor; the longest attack of this package takes two thousand


def override(value: T, path: str, new: Any, names: Mapping[str, type], *, at: str = "", entries: Any = None) -> T:
    """A copy of `value` in which the field at the dotted `path` is `new`.

    Args:
        value: A frozen dataclass, or a tuple of them.
        path: Fields and indices joined by dots.
        new: A plain value of the field's type, or for a part its constructor as text, such as `Cosine()`.
        names: Constructors that such a text may use.
        at: What to call `value` in an error.
        entries: Type of the entries where `value` is a tuple; that of the entry as it is by default.

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
        kind = entries or type(value[index])
        entry = override(value[index], rest, new, names, at=here) if rest else _read(kind, new, names, here)
        return (*value[:index], entry, *value[index + 1 :])  # type: ignore[return-value]
    known = settable(type(value))
    if name not in known:
        raise AuditError(f"{here}: {type(value).__name__} has no field {name}{suggest(name, known)}")
    expected = annotations_of(type(value))[name]
    if rest:
        entry = override(getattr(value, name), rest, new, names, at=here, entries=_entries(expected))
    else:
        entry = _read(expected, new, names, here)
    return _refused_as(here, replace, value, **{name: entry})


def _entries(hint: Any) -> Any:
    """The type of every entry of `tuple[X, ...]`; `None` for any other type."""
    given = get_args(hint)
    return given[0] if get_origin(hint) is tuple and given[1:] == (...,) else None


def place_in(count: int, name: str) -> int | None:
    """The place, from 0, that `name` is in a list of `count` entries; `None` where it is none of them."""
    digits = name.isascii() and name.isdigit() and len(name) < 10
    return int(name) if digits and int(name) < count else None


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
    known = settable(cls)
    at = f"{here}{cls.__name__}"
    if len(call.args) > len(known):
        raise AuditError(f"{at} takes at most {len(known)} values. Found {len(call.args)}.")
    given = [*zip(known, call.args, strict=False), *((keyword.arg, keyword.value) for keyword in call.keywords)]
    values: dict[str, Any] = {}
    hints = annotations_of(cls)
    for name, node in given:
        if name is None or isinstance(node, ast.Starred):
            raise AuditError(f"{at}: a star has no place in a part; write its fields out.")
        if name not in known:
            raise AuditError(f"{at} has no field {name}{suggest(name, known)}")
        if name in values:
            raise AuditError(f"{at}: gives {name} twice.")
        values[name] = fitted(hints[name], build(node), f"{at}.{name}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise AuditError(f"{at} needs {name}.")
    return _refused_as(at, cls, **values)


def _refused_as(at: str, make: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """What `make` returns; what it refuses, as an error that names `at`."""
    try:
        return make(*args, **fields)
    except AuditError as error:
        own = str(error).startswith(make.__name__)  # it names the class that `at` ends in
        raise AuditError(f"{at.removesuffix(make.__name__)}{error}" if own else f"{at}: {error}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise AuditError(f"{at}: {_reason(error)}.") from error


def _read(expected: Any, new: Any, names: Mapping[str, type], at: str) -> Any:
    """A field's value from what the user wrote: a part from its constructor, all else as it is."""
    written = isinstance(new, str) and expected is not str and new.rstrip().endswith(")")
    return fitted(expected, construct(new, names, at=at) if written else new, at)


def _reason(error: BaseException) -> str:
    """Why, without a full stop, as Python says it."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text or "it is nested too deeply").rstrip(".")
