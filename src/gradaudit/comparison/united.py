"""The record of a union of audits or sweeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..audit.sweep_file import canonical
from ..audit.yaml_text import parse_yaml, write_yaml
from ..execution.results import difference
from ..values.errors import AuditError
from ..values.finding import RunRecord
from .folders import RunFolder

GridValues = Mapping[str, tuple[Any, ...]]


def united_record(folders: Sequence[RunFolder]) -> RunRecord:
    """Return the record of the union of the folders: the first one's, with the values of all grids.

    Raises:
        AuditError: Two folders are of different configurations, or of sweeps over different keys.
    """
    united = _record(folders[0])
    for folder in folders[1:]:
        record, names = _record(folder), f"{folders[0].path} and {folder.path}"
        if changed := difference(united.identity, record.identity):
            raise AuditError(
                f"merge: {names} are of different configurations: {changed}. Merge runs of the same configuration."
            )
        if set(record.grid) != set(united.grid) or set(record.zipped) != set(united.zipped):
            keys = (", ".join(one.grid) or "no key" for one in (united, record))
            raise AuditError(
                f"merge: {names} are sweeps over different keys: {' against '.join(keys)}, or other keys of them go "
                "together. Merge sweeps over the same keys."
            )
        grid = _grid(united, record)
        united = replace(
            united,
            grid=grid,
            planned=_planned(united, record, grid),
            configuration=_configuration(united, grid),
            trainings=_union(united.trainings, record.trainings),
        )
    return replace(united, failures=())


def _record(folder: RunFolder) -> RunRecord:
    if folder.record is None:
        raise AuditError(f"{folder.path}: is not the folder of an audit or a sweep.")
    return folder.record


def _grid(one: RunRecord, other: RunRecord) -> dict[str, tuple[Any, ...]]:
    """Return the values of both grids in order; those of keys that go together are united row by row."""
    grid = {key: _union(values, other.grid[key]) for key, values in one.grid.items() if key not in one.zipped}
    rows = (_rows(record.grid, one.zipped) for record in (one, other))
    united = _union(*rows)
    together = {key: tuple(row[place] for row in united) for place, key in enumerate(one.zipped)}
    return {key: together[key] if key in together else grid[key] for key in one.grid}


def _configuration(record: RunRecord, grid: GridValues) -> str:
    """Return the sweep file of the union as YAML; that of an audit is unchanged."""
    if not grid:
        return record.configuration
    found = parse_yaml(record.configuration, "configuration")
    for part in ("grid", "zip"):
        if isinstance(found, dict) and isinstance(lists := found.get(part), dict):
            found[part] = {key: list(grid[key]) if key in grid else values for key, values in lists.items()}
    return write_yaml(found)


def _rows(grid: GridValues, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(grid[key] for key in keys), strict=False))


def _union(one: Sequence[Any], other: Sequence[Any]) -> tuple[Any, ...]:
    """Return the entries of both, each once."""
    seen: dict[str, Any] = {}
    for entry in (*one, *other):
        seen.setdefault(canonical(entry), entry)
    return tuple(seen.values())


def _planned(one: RunRecord, other: RunRecord, grid: GridValues) -> int:
    """Return the number of cases of the united grid, where every cell has the same number of them."""
    cells = _cell_count(grid, one.zipped)
    found = []
    for record in (one, other):
        before = _cell_count(record.grid, one.zipped)
        found.append(record.planned * cells // before if before else record.planned)
    return max(found)


def _cell_count(grid: GridValues, zipped: Sequence[str]) -> int:
    single = math.prod(len(values) for key, values in grid.items() if key not in zipped)
    return single * (max((len(grid[key]) for key in zipped), default=1) if zipped else 1)
