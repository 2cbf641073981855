"""The table of what each defense did to the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..values.finding import Finding
from ..values.protection import DefenseEffect, Protection
from . import formatting
from .tally import Tally

COLUMNS = (
    "cosine kept", "norm kept", "entries changed", "change to update", "buffers touched", "epsilon of this round",
)  # fmt: skip
NOT_RECORDED = "What its defenses did to the update is not recorded: an earlier version of gradaudit ran this audit."
NO_LEAVING = "none leave"


@dataclass(frozen=True)
class EffectRow:
    """One defense: its name, one cell for each of `COLUMNS`, and a remark that stands in place of the cells."""

    defense: str
    cells: tuple[str, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class ClientEffects:
    """The rows of one configuration, or why there are none."""

    label: str
    rows: tuple[EffectRow, ...] = ()
    unknown: str = ""


@dataclass(frozen=True)
class EffectTable:
    """What the defenses of all configurations did: those with rows, and those of which nothing is known."""

    known: tuple[ClientEffects, ...]
    unknown: tuple[ClientEffects, ...]
    columns: tuple[str, ...] = COLUMNS


def effect_table(found: Sequence[Tally]) -> EffectTable | None:
    """Return the table of all configurations with a defense, in the given order, or `None` if there is none."""
    clients = [_client(tally) for tally in found if tally.defended]
    known = tuple(client for client in clients if client.rows)
    return EffectTable(known, tuple(client for client in clients if not client.rows)) if clients else None


def protections(findings: Sequence[Finding]) -> tuple[Protection, ...]:
    """Return what is known of the protection of each update: that of all attacks on one batch is the same."""
    found = {(one.seed, one.repeat): one.protection for one in findings if one.protection is not None}
    return tuple(found.values())


def _client(tally: Tally) -> ClientEffects:
    found = protections(tally.findings)
    unknown = next((one.unknown for one in found if one.unknown), "" if found else NOT_RECORDED)
    if unknown:
        return ClientEffects(tally.label, unknown=unknown)
    columns = zip(*(one.effects for one in found), strict=True)
    return ClientEffects(tally.label, tuple(_row(effects, found[0].buffers) for effects in columns))


def _row(effects: Sequence[DefenseEffect], buffers: int) -> EffectRow:
    """Return the row of one defense over the updates of all batches."""
    first = effects[0]
    if first.why_not:
        spent = "" if first.epsilon is None else f" Epsilon of this round: {_epsilon(first)}."
        return EffectRow(first.defense, remark=first.why_not + spent)
    if all(one.no_op for one in effects):
        return EffectRow(first.defense, remark="It changed nothing.")
    touched = [one.buffers_touched for one in effects]
    return EffectRow(
        first.defense,
        (
            _range([one.cosine for one in effects], lambda value: formatting.number(value, 3)),
            _range([one.norm_kept for one in effects], _short),
            _range([one.changed for one in effects], lambda value: f"{formatting.number(100 * value, 1)} %"),
            _range([one.ratio for one in effects], _short),
            f"{_range(touched, lambda value: f'{value:.0f}')} of {buffers}" if buffers else NO_LEAVING,
            _epsilon(first),
        ),
    )


def _range(values: Sequence[float | None], text: Callable[[float], str]) -> str:
    """Return the smallest and the largest value, or one value if both look the same."""
    known = [value for value in values if value is not None]
    if not known:
        return formatting.MISSING
    low, high = text(min(known)), text(max(known))
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    """Return a number of at least 0 with three digits, such as `0.0202`, `1.00`, `43.7` or `5426`."""
    return f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def _epsilon(effect: DefenseEffect) -> str:
    if effect.epsilon is None:
        return "none known"
    delta = formatting.power_of_ten(round(math.log10(effect.delta))) if effect.delta else "0"
    return f"{_short(effect.epsilon)} (one {effect.unit}, δ = {delta})"
