"""The arrays and numbers in a message of Flower, without importing Flower."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..values.errors import AuditError

ROUND = "server-round"
EXAMPLES = ("num-examples", "num_examples", "fitres.num_examples")


def arrays_of(message: Any, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return name -> array of all arrays of a message, in the order in which they were sent; empty for an error.

    With several array records, a name begins with that of its record.
    """
    if message is None or not message.has_content():
        return {}
    return joined(dict(message.content.array_records), names)


def joined(records: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the arrays of all records together."""
    if len(records) == 1:
        return named(dict(next(iter(records.values()))), names)
    return {f"{key}.{name}": value for key, record in records.items() for name, value in record.items()}


def named(arrays: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the arrays of one record; those of a positional list, `0`, `1`, …, under `names` or as `arr_0`, `arr_1`.

    Raises:
        AuditError: The number of names differs from the number of arrays.
    """
    if list(arrays) != [str(place) for place in range(len(arrays))]:
        return dict(arrays)
    if names and len(names) != len(arrays):
        raise AuditError(f"names: has {len(names)} names for {len(arrays)} arrays. Give one for each, in their order.")
    return dict(zip(names or [f"arr_{place}" for place in range(len(arrays))], arrays.values(), strict=True))


def numbers(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return name -> numpy array of Flower's arrays."""
    return {name: value.numpy() for name, value in arrays.items()}


def round_of(message: Any) -> int:
    """Return the number of the round: the key `server-round` of a config record, or else the message's group, or 0."""
    for record in dict(message.content.config_records).values() if message.has_content() else ():
        if ROUND in record:
            return int(record[ROUND])
    group = str(message.metadata.group_id)
    return int(group) if re.fullmatch("[0-9]{1,9}", group) else 0


def examples_of(message: Any) -> int | None:
    """Return the number of examples that the client reports in its metrics, if it does."""
    for record in dict(message.content.metric_records).values():
        for key in EXAMPLES:
            if key in record:
                return int(record[key])
    return None
