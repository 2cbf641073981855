"""An entry of `attacks:` in an audit file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer

from ..attacks.lti import LearningToInvert


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


def beside_file(attack: Any, folder: Path) -> Any:
    """Return an attack whose trained inverter, its own or that of its start, is looked for in the audit file's folder.

    The path is relative to the working directory if it lies in it.
    """
    if isinstance(attack, LearningToInvert) and attack.trained:
        whole, here = (folder / attack.trained).absolute(), Path.cwd()
        return replace(attack, trained=str(whole.relative_to(here) if whole.is_relative_to(here) else whole))
    inner = {name: getattr(attack, name, None) for name in ("attack", "start")}
    found = {name: beside_file(one, folder) for name, one in inner.items() if one is not None}
    changed = {name: one for name, one in found.items() if one is not inner[name]}
    return replace(attack, **changed) if changed else attack
