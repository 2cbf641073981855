"""Changing one value of an audit file by its dotted path, as `--set` and the grid of a sweep do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values.errors import AuditError
from ..values.validation import as_name
from .battery import DEFAULT
from .overrides import place_in
from .yaml_text import parse_yaml


def parsed_change(change: str) -> tuple[str, Any]:
    """Return the path and the parsed value of a change `key.sub=value`. Raise `AuditError` if it is not one."""
    path, equals, value = change.partition("=")
    if not equals or not path:
        raise AuditError(f"--set {change}: write it as key.sub=value.")
    return path, parse_yaml(value, f"--set {path}")


def as_entry(value: Any) -> Any:
    """Return an entry of `attacks:` as a mapping of `name` and `set`.

    A name alone becomes one. `generator: FILE` beside a name becomes a change like any other, which all stages share.
    """
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "generator" in value and isinstance(value.get("set", {}), dict):
        rest = {key: entry for key, entry in value.items() if key != "generator"}
        return {**rest, "set": {"generator": value["generator"], **rest.get("set", {})}}
    return value


def change_file(raw: dict[str, Any], path: str, value: Any, at: str) -> None:
    """Change one value of an audit file in place; a path below an attack names a field of the attack itself.

    Args:
        raw: The plain values of the file.
        path: Keys and positions joined by dots, as `--set` takes them.
        value: The new plain value.
        at: Name of the change in errors.

    Raises:
        AuditError: The path leads through a value that is no mapping, or to an entry that a list does not have.
    """
    first, *steps = path.split(".")
    if first != "attacks" or not steps:
        return _change(raw, [first, *steps], value, at)
    entries = raw.setdefault("attacks", [DEFAULT])
    if len(steps) == 1:
        return _change(entries, steps, value, at)
    index = _position(entries, steps[0], at)
    entries[index] = entry = as_entry(entries[index])
    if steps[1] in ("name", "set") or steps[1:] == ["start"]:
        return _change(entry, steps[1:], value, at)
    fields = entry.setdefault("set", {}) if isinstance(entry, dict) else None
    if not isinstance(fields, dict):
        raise AuditError(f"{at}: attacks.{steps[0]} is neither a name nor a mapping of name and set.")
    fields[".".join(steps[1:])] = value
    return None


def _change(node: Any, path: list[str], value: Any, at: str) -> None:
    head, *rest = path
    if isinstance(node, list):
        index = _position(node, head, at)
        if rest:
            _change(node[index], rest, value, at)
        else:
            node[index] = value
    elif isinstance(node, dict) and rest:
        _change(node.setdefault(head, {}), rest, value, at)
    elif isinstance(node, dict):
        node[head] = value
    else:
        raise AuditError(f"{at}: {head} cannot be set, as the value above it is not a mapping.")


def _position(entries: Any, name: str, at: str) -> int:
    count = len(entries) if isinstance(entries, list) else 0
    index = place_in(count, name)
    if index is None:
        raise AuditError(f"{at}: no entry {as_name(name)}. The list has {count}, counted from 0.")
    return index


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Return the entries of nested mappings and lists under their dotted paths."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, entry in value.items() for k, v in flat(entry, f"{at}.{key}" if at else str(key)).items()}
    if isinstance(value, list) and value:
        return {k: v for i, entry in enumerate(value) for k, v in flat(entry, f"{at}.{i}").items()}
    return {at: value}
