"""Changing one field of a frozen value by its dotted path: `stages.0.steps=2000`, checked against the value itself."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .errors import AuditError

T = TypeVar("T")


def override(value: T, path: str, new: Any, names: Mapping[str, type], *, at: str = "") -> T:
    """A copy of `value` in which the field at the dotted `path` is `new`.

    Args:
        value: A frozen dataclass, or a tuple of them.
        path: Fields and indices joined by dots.
        new: A plain value of the field's type, or for a part its constructor as text, such as `Cosine()`.
        names: Constructors that such a text may use.
        at: What to call `value` in an error.

    Raises:
        AuditError: A name, index or type that the value does not have, with those that it has.
    """
    name, _, rest = path.partition(".")
    here = f"{at}.{name}" if at else name
    if isinstance(value, tuple):
        index = _index(value, name, at)
        entry = (
            override(value[index], rest, new, names, at=here)
            if rest
            else _checked(type(value[index]), new, names, here)
        )
        return (*value[:index], entry, *value[index + 1 :])  # type: ignore[return-value]
    known = [f.name for f in fields(value)] if is_dataclass(value) else []
    if name not in known:
        raise AuditError(f"{here}: {type(value).__name__} has no field {name}{suggest(name, known)}")
    if rest:
        entry = override(getattr(value, name), rest, new, names, at=here)
    else:
        entry = _checked(get_type_hints(type(value))[name], new, names, here)
    return replace(value, **{name: entry})  # type: ignore[type-var]


def suggest(name: str, known: Iterable[str]) -> str:
    """`. Did you mean x? Known: a, b.` for an unknown name."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f".{hint} Known: {', '.join(known) or 'none'}."


def construct(text: str, names: Mapping[str, type]) -> Any:
    """Evaluate `Name(field=literal, ...)`, nested and in tuples, with nothing else allowed.

    Raises:
        AuditError: Any other expression, or an unknown name or field.
    """

    def build(node: ast.expr) -> Any:
        if isinstance(node, ast.Tuple):
            return tuple(build(entry) for entry in node.elts)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in names:
                raise AuditError(f"unknown part {node.func.id}{suggest(node.func.id, names)}")
            keywords = {keyword.arg: build(keyword.value) for keyword in node.keywords if keyword.arg}
            return names[node.func.id](*map(build, node.args), **keywords)
        return ast.literal_eval(node)

    try:
        return build(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError) as error:
        raise AuditError(f"cannot read {text!r} as a value: {error}") from error


def _checked(expected: Any, new: Any, names: Mapping[str, type], at: str) -> Any:
    if isinstance(new, str) and new.rstrip().endswith(")"):
        new = construct(new, names)
    new = _frozen(new)
    try:
        return TypeAdapter(
            expected, config=None if is_dataclass(expected) else {"arbitrary_types_allowed": True}
        ).validate_python(new, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].replace("Input should be", "should be")
        raise AuditError(f"{at}: {reason}. Found {new!r}.") from error


def _index(value: tuple[Any, ...], name: str, at: str) -> int:
    if name.isdigit() and int(name) < len(value):
        return int(name)
    raise AuditError(f"{at}: no entry {name}. It has {len(value)}, counted from 0.")


def _frozen(value: Any) -> Any:
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list) else value
