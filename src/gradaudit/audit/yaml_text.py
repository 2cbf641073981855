"""Reading YAML as plain values; anything else, and any repeated key, is refused with its line."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from ..values.characters import shortened
from ..values.errors import AuditError

MOST_BYTES = 2**18
MOST_VALUES = 100_000  # after aliases are written out, so that ten lines cannot become a billion
MOST_LEVELS = 50
LARGEST = 2**63 - 1
TAG = "tag:yaml.org,2002:"
PLAIN = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    "merge": re.compile("<<"),
}
"""The type of a scalar without quotes by YAML 1.2's core schema: `1e-3` is a number, while `no`, `1_000` and
`2020-01-01` are text. The first pattern that matches the whole scalar decides."""


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Parses text to nodes. The values of nodes are computed by `_YamlReading`, so that no tag can call any code."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


class _Dumper(yaml.SafeDumper):
    """Writes YAML with quotes around text that would otherwise be read back as another type."""


for _kind, _pattern in PLAIN.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(TAG + _kind, re.compile(f"(?:{_pattern.pattern})\\Z"), None)


def parse_yaml(text: str, label: str) -> Any:
    """Return the plain value of a YAML document.

    Plain values are mappings with text as keys, lists, text, finite numbers, booleans and `None`.

    Args:
        text: One document; an empty one is `None`.
        label: Name of the text in errors, with the line.

    Raises:
        AuditError: The YAML is broken, there is a second document, a key is repeated or is not text, a tag, a number
            out of range, control characters, or more values or levels than an audit file can need.
    """
    try:
        root = _Loader(text).get_single_node()
        return None if root is None else _YamlReading(label).value(root, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _wrong(label, mark, error.problem or error.context or "broken YAML") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise AuditError(f"{label}, line {line}: contains the character #x{error.character:04x}.") from error
    except (ValueError, OverflowError) as error:  # an escape beyond the last character
        raise AuditError(f"{label}: broken YAML: {error}.") from error
    except RecursionError as error:
        raise AuditError(f"{label}: is nested too deeply.") from error


def decode_yaml(data: bytes, label: str) -> str:
    """Return the text of a file without its byte order mark.

    Raises:
        AuditError: The file is larger than 256 kB, or a line is not UTF-8.
    """
    if len(data) > MOST_BYTES:
        raise AuditError(f"{label}: is larger than 256 kB; an audit file needs only a few lines.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AuditError(f"{label}, line {line}: not a text file: the bytes are not UTF-8.") from error


def write_yaml(value: Any) -> str:
    """Return YAML that `parse_yaml` reads back to the same plain value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _YamlReading:
    """Converts nodes to values, within the bounds above."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.values = 0

    def value(self, node: yaml.Node, level: int) -> Any:
        """Return the value of a node that is nested in `level` lists and mappings."""
        self.values += 1
        if self.values > MOST_VALUES or level > MOST_LEVELS:
            raise _wrong(self.label, node.start_mark, "too many values, or lists within lists; an alias counts in full")
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(entry, level + 1) for entry in node.value]
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, level)
        if not isinstance(node, yaml.ScalarNode) or kind not in (*PLAIN, "str") or kind == "merge":
            raise _wrong(self.label, node.start_mark, f"the tag {node.tag} has no meaning here; remove it")
        if kind != "str" and not PLAIN[kind].fullmatch(node.value):
            raise _wrong(self.label, node.start_mark, f"{_short(repr(node.value))} is no {kind}")
        return _scalar(kind, node, self.label)

    def mapping(self, node: yaml.MappingNode, level: int) -> dict[str, Any]:
        """Return the keys of a mapping, and those that `<<` merges unless the mapping has them itself."""
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, entry in node.value:
            if key.tag == TAG + "merge":
                value = self.value(entry, level + 1)
                for other in reversed(value if isinstance(value, list) else [value]):
                    if not isinstance(other, dict):
                        raise _wrong(self.label, entry.start_mark, "<< takes a mapping, or a list of them")
                    merged.update(other)
                continue
            name = self.value(key, level + 1)
            if not isinstance(name, str):
                raise _wrong(self.label, key.start_mark, f"a key must be text, not {_short(repr(name))}; quote it")
            if name in found:
                raise _wrong(self.label, key.start_mark, f"the key {_short(name)} occurs twice")
            found[name] = self.value(entry, level + 1)
        return {**merged, **found}


def _scalar(kind: str, node: yaml.ScalarNode, label: str) -> Any:
    """Return the value of a scalar whose text matches its type."""
    text = node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text[0] in "tT"
    if kind == "str":
        wrong = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs")), None)
        if wrong is not None:
            raise _wrong(label, node.start_mark, f"a value contains the character {wrong!r}")
        return text
    number = _number(kind, text)
    if not -LARGEST <= number <= LARGEST and (kind == "int" or not math.isfinite(number)):
        raise _wrong(
            label, node.start_mark, f"{_short(text)} is out of range: numbers are finite, whole ones below 2^63"
        )
    return number


def _number(kind: str, text: str) -> int | float:
    """Return the value of a number; infinity if a whole number has more digits than any number in range."""
    if kind == "float":
        return math.inf if text[-1].isalpha() else float(text)
    if len(text) > 30:
        return math.inf
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


def _short(text: str) -> str:
    return shortened(text, 60)


def _wrong(label: str, mark: Any, reason: str) -> AuditError:
    return AuditError(f"{label}, line {mark.line + 1 if mark else 1}: {reason}.")
