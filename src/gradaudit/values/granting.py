"""The facts that the adversary is granted, given as flags or by their names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from .errors import AuditError
from .types import LEVELS, Knowledge
from .validation import as_name, suggest

Granted = Knowledge | str | Iterable[Knowledge | str]
"""A flag, the name of a level or of a fact (`"priors"`, `"LABELS"`), or several of them."""
FACTS = (*LEVELS, *(name for name in Knowledge.__members__ if name != "NOTHING"))
"""Names of levels and facts, as an audit file takes them under `knowledge`."""


def granted(knowledge: Granted) -> Knowledge:
    """Return all given facts combined into one flag.

    Raises:
        AuditError: A name is not in `FACTS`, or an entry is neither a flag nor a name.

    >>> granted(["priors", "LABELS"]).names
    ('BATCH_SIZE', 'LABELS')
    """
    several = isinstance(knowledge, Iterable) and not isinstance(knowledge, (str, Knowledge))
    entries: Iterable[Any] = knowledge if several else (knowledge,)
    return reduce(or_, map(_flag, entries), Knowledge.NOTHING)


def level(name: str) -> Knowledge:
    """Return the facts of an assumption level of the SoK paper (`Level`) by its name.

    Raises:
        AuditError: There is no such level.

    >>> ga.level("priors").names
    ('BATCH_SIZE',)
    """
    if not isinstance(name, str) or name not in LEVELS:
        raise AuditError(f"level: unknown level {as_name(name)}{suggest(as_name(name), LEVELS)}")
    return LEVELS[name]


def _flag(fact: Any) -> Knowledge:
    if isinstance(fact, Knowledge):
        return fact
    if not isinstance(fact, str) or fact not in FACTS:
        raise AuditError(f"knowledge: unknown fact {as_name(fact)}{suggest(as_name(fact), FACTS)}")
    return LEVELS[fact] if fact in LEVELS else Knowledge[fact]
