"""Changing one field of a frozen value by its dotted path, such as `stages.0.steps=2000`, with checks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import MISSING, replace
from typing import Any, TypeVar, get_args, get_origin

from ..inversion.run.generator_choice import with_generator
from ..values.errors import AttackFailed, AuditError
from ..values.validation import annotations_of, as_name, brief, fitted, settable, suggest

T = TypeVar("T")

GENERATOR = "generator"
LONGEST = 20_000  # characters of a part's constructor; the longest attack of this package has two thousand


def override(value: T, path: str, new: Any, names: Mapping[str, type], *, at: str = "", entries: Any = None) -> T:
    """Return a copy of `value` in which the field at the dotted `path` is `new`.

    Args:
        value: A frozen dataclass, or a tuple of them.
        path: Fields and indices joined by dots; `generator` is that of all stages of an attack.
        new: A plain value of the field's type, or for a part its constructor as text, such as `Cosine()`.
        names: Name -> class of the constructors that such a text may use.
        at: Name of `value` in errors.
        entries: Type of the entries if `value` is a tuple; the type of the present entry by default.

    Raises:
        AuditError: The value has no such field or index (the message lists the known ones), `new` is of a wrong type,
            or the part itself refuses it.
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
    if name == GENERATOR and name not in known and hasattr(value, "stages"):
        return _with_generator(value, new, names, here)
    if name not in known and name in settable(type(getattr(value, "attack", None))):  # of the attack that it wraps
        return override(value, f"attack.{path}", new, names, at=at)
    if name not in known:
        raise AuditError(f"{here}: {type(value).__name__} has no field {name}{suggest(name, known)}")
    expected = annotations_of(type(value))[name]
    if rest:
        entry = override(getattr(value, name), rest, new, names, at=here, entries=_entries(expected))
    else:
        entry = _read(expected, new, names, here)
    return _refused_as(here, replace, value, **{name: entry})


def _with_generator(attack: T, new: Any, names: Mapping[str, type], here: str) -> T:
    """Return an attack whose stages all use another generator: the key `generator` of an entry of `attacks:`."""
    if not isinstance(new, str) or not new:
        raise AuditError(f"{here}: must be the name or the file of a generator. Found {brief(new)}.")
    written = new.rstrip().endswith(")")
    try:
        return with_generator(attack, construct(new, names, at=here) if written else new)
    except AttackFailed as error:
        raise AuditError(f"{here}: {error}") from error


def _entries(hint: Any) -> Any:
    """Return the type X of the entries of `tuple[X, ...]`, or `None` for any other type."""
    given = get_args(hint)
    return given[0] if get_origin(hint) is tuple and given[1:] == (...,) else None


def place_in(count: int, name: str) -> int | None:
    """Return `name` as an index in a list of `count` entries, from 0, or `None` if it is not one."""
    digits = name.isascii() and name.isdigit() and len(name) < 10
    return int(name) if digits and int(name) < count else None


def construct(text: str, names: Mapping[str, type], *, at: str = "") -> Any:
    """Return the value of `Name(field=literal, ...)`, which may be nested and in tuples; nothing else is evaluated.

    Args:
        text: A Python expression.
        names: Name -> dataclass that the expression may construct; its fields are checked as in `override`.
        at: What the value is for, in errors.

    Raises:
        AuditError: The text is another expression, a name or field is unknown, or a value does not fit its field.
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
            raise ValueError("only numbers, text, lists and parts with their fields are allowed") from None

    if len(text) > LONGEST:
        raise AuditError(f"{here}{brief(text)} is too long for a value, {len(text)} characters.")
    try:
        return build(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise AuditError(f"{here}cannot read {brief(text)} as a value: {_reason(error)}.") from error


def _made(cls: type, call: ast.Call, build: Callable[[ast.expr], Any], here: str) -> Any:
    """Return a dataclass from the arguments of a call, each checked against its field."""
    known = settable(cls)
    at = f"{here}{cls.__name__}"
    if len(call.args) > len(known):
        raise AuditError(f"{at} takes at most {len(known)} values. Found {len(call.args)}.")
    given = [*zip(known, call.args, strict=False), *((keyword.arg, keyword.value) for keyword in call.keywords)]
    values: dict[str, Any] = {}
    hints = annotations_of(cls)
    for name, node in given:
        if name is None or isinstance(node, ast.Starred):
            raise AuditError(f"{at}: a part cannot be given with a star; write its fields out.")
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
    """Return the result of `make`; raise an `AuditError` that names `at` if `make` refuses its arguments."""
    try:
        return make(*args, **fields)
    except AuditError as error:
        own = str(error).startswith(make.__name__)  # it names the class that `at` ends in
        raise AuditError(f"{at.removesuffix(make.__name__)}{error}" if own else f"{at}: {error}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise AuditError(f"{at}: {_reason(error)}.") from error


def _read(expected: Any, new: Any, names: Mapping[str, type], at: str) -> Any:
    """Return a field's value from the user's text: a part from its constructor, anything else as it is."""
    written = isinstance(new, str) and expected is not str and new.rstrip().endswith(")")
    return fitted(expected, construct(new, names, at=at) if written else new, at)


def _reason(error: BaseException) -> str:
    """Return the message of a Python exception without its full stop."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text or "it is nested too deeply").rstrip(".")
