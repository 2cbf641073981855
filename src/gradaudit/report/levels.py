"""The assumption levels of the SoK that an audit covers, each with its result, and those it does not cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..values.types import LEVELS
from . import formatting
from . import wording as words
from .tally import Tally

MEANING = {
    "basic": "the model and the update",
    "priors": "general knowledge about such data",
    "data-distribution": "data of the same kind",
    "training-details": "the client's training settings",
    "batch-statistics": "BatchNorm statistics of the batch",
    "malicious-server": "a server that modifies the model",
}


@dataclass(frozen=True)
class LevelResult:
    """The result under one set of facts that the adversary knows.

    Args:
        name: The levels with that set of facts, such as `Levels 0 and 1 of 5`.
        about: What the adversary knows on these levels, and beyond them.
        results: Verdict in one or two words, with the suffix of its class in the style sheet and the names of the
            clients it concerns (empty if the audit has one client), worst first.
    """

    name: str
    about: str
    results: tuple[tuple[str, str, str], ...]


def level_results(found: Sequence[Tally]) -> tuple[LevelResult, ...]:
    """Return one result for each set of facts in the audit, in the order of the levels."""
    sets: dict[tuple[str, ...], list[Tally]] = {}
    for tally in found:
        sets.setdefault(tally.findings[0].knowledge, []).append(tally)
    ordered = sorted(sets.items(), key=lambda entry: (numbers_of(entry[0]), len(entry[0])))
    return tuple(_result(facts, members) for facts, members in ordered)


def not_audited(found: Sequence[Tally]) -> str:
    """Return the levels that no finding covers, such as `level 2 (data of the same kind) and ...`, or nothing."""
    covered = {number for tally in found for number in numbers_of(tally.findings[0].knowledge)}
    rest = [(number, name) for number, name in enumerate(LEVELS) if number not in covered]
    return formatting.listed([f"level {number} ({MEANING[name]})" for number, name in rest])


def numbers_of(facts: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the highest levels whose facts are all among `facts`; two levels can grant the same."""
    held = [number for number, flag in enumerate(LEVELS.values()) if set(flag.names) <= set(facts)]
    flags = list(LEVELS.values())
    return tuple(number for number in held if flags[number] == flags[held[-1]])


def _result(facts: tuple[str, ...], members: Sequence[Tally]) -> LevelResult:
    numbers, names = numbers_of(facts), list(LEVELS)
    said: dict[tuple[str, str], list[str]] = {}
    for tally in members:
        key = (tally.verdict.headline.rstrip(":").lower(), tally.verdict.level.tone)
        said.setdefault(key, []).append(tally.findings[0].client)
    clients = {client for each in said.values() for client in each}
    results = tuple(
        (word, tone, formatting.listed(each) if len(clients) > 1 else "") for (word, tone), each in said.items()
    )
    if not numbers:
        return LevelResult("Below level 0", f"the adversary knows {words.facts(facts)}", results)
    top = LEVELS[names[numbers[-1]]].names
    more = [fact for fact in facts if fact not in top]
    about = ", ".join([MEANING[names[number]] for number in numbers])
    about += ", and what the levels below know" if numbers[0] > 0 else ""
    about += f"; in addition {words.facts(more)}" if more else ""
    plural = "s" if len(numbers) > 1 else ""
    return LevelResult(f"Level{plural} {formatting.listed([*map(str, numbers)])} of {len(names) - 1}", about, results)
