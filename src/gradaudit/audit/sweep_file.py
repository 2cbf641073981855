"""The sweep file: an audit file with a `grid:` of values, read as one configuration for each of its cells."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..values.characters import shortened
from ..values.errors import AuditError
from ..values.validation import brief
from .changes import change_file, flat, parsed_change
from .config import SWEPT, AuditConfig, read_values, validated, with_truth
from .yaml_text import write_yaml

MOST_CELLS = 10_000  # without the option --yes
MOST_OF_ALL = 100_000  # with it; all cells are checked, and held in memory, before the first one runs
LONGEST_TEXT = 60  # characters of a value in a name


@dataclass(frozen=True)
class SweepCell:
    """One cell of a sweep: the audit file with one value for each key of the grid.

    Args:
        number: Number of the cell, from 0; the last key of the grid varies fastest.
        at: Key of the grid -> its value in this cell.
        config: The audit file of the cell.
    """

    number: int
    at: Mapping[str, Any]
    config: AuditConfig

    @property
    def name(self) -> str:
        """The values of the cell in words, such as `cell 3 (defenses.0.std=0.01, seed=1)`; counted from 1."""
        return f"cell {self.number + 1} ({at_in_words(self.at)})"


@dataclass(frozen=True)
class SweepFile:
    """A sweep file.

    Args:
        grid: Key of the audit file -> its values, in the order of the file; those of `zip:` too.
        zipped: The keys of `zip:`, whose values go together, the first with the first.
        cells: The cells in order, as `combinations` yields them.
        base: The file without `grid:` and `zip:`, with the changes of `--set`.
    """

    grid: Mapping[str, tuple[Any, ...]]
    zipped: tuple[str, ...]
    cells: tuple[SweepCell, ...]
    base: Mapping[str, Any]

    @property
    def configuration(self) -> str:
        """The sweep file as YAML."""
        parts = {"grid": [key for key in self.grid if key not in self.zipped], "zip": self.zipped}
        lists = {part: {key: list(self.grid[key]) for key in keys} for part, keys in parts.items() if keys}
        return write_yaml({**self.base, **lists})

    @property
    def identity(self) -> dict[str, Any]:
        """What all cells share, as a flat mapping: the file without the keys of the grid."""
        within = ("federation.", *(f"{key}." for key in self.grid))  # a federation changes nothing that leaks
        return {key: value for key, value in flat(dict(self.base)).items() if not f"{key}.".startswith(within)}


def read_sweep(path: Path, changes: Sequence[str] = (), *, many: bool = False) -> SweepFile:
    """Read a sweep file, apply `key.sub=value` changes, and check the configuration of every cell.

    A change of `grid.KEY` or `zip.KEY` replaces the list of values of that key.

    Args:
        path: Path of the file.
        changes: Changes as `--set` takes them.
        many: Whether more than 10 000 cells are allowed (`--yes`).

    Raises:
        AuditError: There is no such file, its YAML is broken, it has no grid or an empty one, a list of values does
            not fit, there are too many cells, or a cell is not a valid audit file. The message is one line that names
            the key of the grid.
    """
    raw = read_values(path)
    if not isinstance(raw, dict):
        raise AuditError(f"{path}: must be a mapping with an audit file and a grid.")
    for key, value in map(parsed_change, changes):
        part, _, rest = key.partition(".")
        if part in SWEPT and rest and isinstance(raw.get(part, {}), dict):
            raw.setdefault(part, {})[rest] = value
        else:
            change_file(raw, key, value, f"--set {key}")
    lists = {part: _lists(raw[part], f"{path}: {part}") for part in raw if part in SWEPT}
    grid = {key: values for found in lists.values() for key, values in found.items()}
    zipped = tuple(lists.get("zip", {}))
    if not grid:
        raise AuditError(f"{path}: grid: is missing. Give at least one key of the audit file with a list of values.")
    if any(key.partition(".")[0] == "fail_over" for key in (*raw, *grid)):
        raise AuditError(
            f"{path}: fail_over: a sweep has no gate. Remove the key, and compare the finished sweep with `gradaudit "
            "report RUN --fail-over ...`."
        )
    if any(key.partition(".")[0] == "recoverability" for key in (*raw, *grid)):
        raise AuditError(f"{path}: recoverability: is for `gradaudit audit`. Remove the key from the sweep.")
    if any(key.partition(".")[0] == "federation" for key in grid):
        raise AuditError(
            f"{path}: grid: federation is the same for all cells, because it does not change what leaks. Move it out "
            "of the grid."
        )
    _require_apart(lists, changes, path)
    _require_size(grid, zipped, path, many)
    base = {key: value for key, value in raw.items() if key not in SWEPT}
    return SweepFile(grid, zipped, _cells(base, grid, zipped, path), base)


def combinations(grid: Mapping[str, Sequence[Any]], zipped: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield key -> value of every cell of a grid, the last key varying fastest.

    Args:
        grid: Key -> its values.
        zipped: Keys whose values go together; as one factor of the product they have the place of the first of them.
    """
    together = [key for key in grid if key in zipped]
    factors = [tuple(together) if key in together else (key,) for key in grid if key not in together[1:]]
    columns = [list(zip(*(grid[key] for key in keys), strict=True)) for keys in factors]
    for chosen in product(*columns):
        found = {
            key: value
            for keys, values in zip(factors, chosen, strict=True)
            for key, value in zip(keys, values, strict=True)
        }
        yield {key: found[key] for key in grid}


def count_cells(grid: Mapping[str, Sequence[Any]], zipped: Sequence[str] = ()) -> int:
    """Return the number of cells of a grid without making them."""
    return math.prod(len(values) for key, values in grid.items() if key not in zipped[1:])


def canonical(value: Any) -> str:
    """Return a text that is equal for equal plain values: `1` and `1.0` are equal, `1` and `true` are not."""
    return json.dumps(_whole(value), sort_keys=True)


def value_in_words(value: Any, most: int = LONGEST_TEXT) -> str:
    """Return a value of a grid for readers: text as it is, a part as `name key=value`, anything else as JSON."""
    return shortened(_words(value), most)


def at_in_words(at: Mapping[str, Any]) -> str:
    """Return the values of a cell for readers, such as `defenses.0.std=0.01, seed=1`."""
    return ", ".join(f"{key}={value_in_words(value)}" for key, value in at.items())


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        rest = [f"{key}={_words(entry)}" for key, entry in value.items() if key != "name"]
        return " ".join([value["name"], *rest])
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_words(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value)) if len(value) == 1 else f"[{', '.join(map(_words, value))}]"
    return json.dumps(value)


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _whole(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _lists(found: Any, at: str) -> dict[str, tuple[Any, ...]]:
    """Return the lists of values of `grid:` or `zip:`."""
    if not isinstance(found, dict) or not found:
        what = f"Found {brief(found)}." if found else "It is empty."
        raise AuditError(f"{at}: must be a mapping of keys of the audit file to lists of values. {what}")
    for key, values in found.items():
        here = f"{at}.{key}"
        if not isinstance(values, list):
            raise AuditError(f"{here}: must be a list of values, such as [0.01, 0.1]. Found {brief(values)}.")
        if not values:
            raise AuditError(f"{here}: is an empty list. Give at least one value, or remove the key.")
        seen: set[str] = set()
        for value in values if at.endswith(": grid") else ():
            if canonical(value) in seen:
                raise AuditError(f"{here}: holds {brief(value)} twice. Remove one of them.")
            seen.add(canonical(value))
    return {key: tuple(values) for key, values in found.items()}


def _require_apart(lists: Mapping[str, Mapping[str, Any]], changes: Sequence[str], path: Path) -> None:
    """Raise `AuditError` if a key is in both lists, contains another key, or is also changed by `--set`."""
    keys = [(part, key) for part, found in lists.items() for key in found]
    known: dict[tuple[str, ...], tuple[str, str]] = {}
    for part, key in keys:
        other_part, other = known.setdefault(_steps(key), (part, key))
        if (other_part, other) != (part, key):
            raise AuditError(f"{path}: {part}.{key}: is also {other_part}.{other}. Remove one of them.")
    for part, key in keys:
        steps = _steps(key)
        above = next((known[steps[:n]][1] for n in range(1, len(steps)) if steps[:n] in known), None)
        if above is not None:
            raise AuditError(
                f"{path}: {part}.{key}: would change what {above} sets. Remove one of them, or write the values of "
                f"{key} into those of {above}."
            )
    for change in changes:
        changed = parsed_change(change)[0]
        if _steps(changed) in known:
            both = ".".join(known[_steps(changed)])
            raise AuditError(f"--set {changed}: is a key of the grid. Change its values with --set {both}=[...].")


def _steps(key: str) -> tuple[str, ...]:
    """Return a key as the steps of its path, equal for keys that lead to the same value."""
    steps = [str(int(step)) if re.fullmatch("[0-9]{1,9}", step) and len(step) < 10 else step for step in key.split(".")]
    if steps[0] == "attacks" and len(steps) > 2 and steps[2] not in ("name", "set"):
        steps.insert(2, "set")
    return tuple(steps)


def _require_size(grid: Mapping[str, Sequence[Any]], zipped: Sequence[str], path: Path, many: bool) -> None:
    """Raise `AuditError` if the lists of `zip:` differ in length, or if there are too many cells."""
    for key in zipped[1:]:
        first, mine = len(grid[zipped[0]]), len(grid[key])
        if mine != first:
            raise AuditError(
                f"{path}: zip.{key}: has {mine} values, but zip.{zipped[0]} has {first}. Lists that go together need "
                "equal lengths."
            )
    count = count_cells(grid, zipped)
    written = f"{path}: grid: makes {_thousands(count)} cells."
    if count > MOST_OF_ALL:
        raise AuditError(f"{written} At most {_thousands(MOST_OF_ALL)} are possible. Shorten its lists.")
    if count > MOST_CELLS and not many:
        raise AuditError(f"{written} Add --yes to run them all, or shorten its lists.")


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", " ") if count < 10**15 else f"about 10^{len(str(count)) - 1}"


def _cells(
    base: Mapping[str, Any], grid: Mapping[str, tuple[Any, ...]], zipped: tuple[str, ...], path: Path
) -> tuple[SweepCell, ...]:
    cells = []
    seen: dict[str, SweepCell] = {}
    for number, at in enumerate(combinations(grid, zipped)):
        raw = deepcopy(dict(base))
        for key, value in at.items():
            change_file(raw, key, deepcopy(value), f"{path}: {_part(key, zipped)}.{key}")
        cell = SweepCell(number, at, _checked(raw, at, zipped, path))
        before = seen.setdefault(cell.config.model_dump_json(), cell)
        if before is not cell:
            raise AuditError(f"{path}: grid: {before.name} and {cell.name} are the same audit. Remove one of them.")
        cells.append(cell)
    return tuple(cells)


def _checked(raw: dict[str, Any], at: Mapping[str, Any], zipped: Sequence[str], path: Path) -> AuditConfig:
    """Return the configuration of a cell; an error names the key of the grid that it is about, if there is one."""
    try:
        return validated(AuditConfig, with_truth(raw), "")
    except AuditError as error:
        problem = str(error)
        where = problem.partition(":")[0]
        for key in at:
            name = f"{path}: {_part(key, zipped)}.{key}"
            if where == key:
                raise AuditError(f"{name}{problem.removeprefix(where)}") from error
            if where.startswith(f"{key}.") or f"{key}.".startswith(f"{where}."):
                raise AuditError(f"{name}: with {shortened(at_in_words(at), 300)}: {problem}") from error
        raise AuditError(f"{path}: {problem}") from error


def _part(key: str, zipped: Sequence[str]) -> str:
    return "zip" if key in zipped else "grid"
