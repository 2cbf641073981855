"""An entry of `attacks:` in an audit file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer


class AttackEntry(BaseModel):
    """One entry of `attacks:`, a name or `file.py:ATTACK` with the fields to change.

    Args:
        name: The attack.
        start: Name of an attack whose reconstruction is the first candidate, for an attack by gradient matching.
        set: Dotted path of a field -> its value; the fields of the start are below `start`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    start: str | None = None
    set: dict[str, Any] = {}

    @model_serializer(mode="wrap")
    def _without_start(self, written: Any) -> dict[str, Any]:
        """Omit a start that is not there, as the files of earlier versions do."""
        found: dict[str, Any] = written(self)
        if self.start is None:
            found.pop("start", None)
        return found
